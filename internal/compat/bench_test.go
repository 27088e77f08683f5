package compat

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	sdkhttp "github.com/clerk/clerk-sdk-go/v2/http"
	"github.com/clerk/clerk-sdk-go/v2/jwks"
	"github.com/clerk/clerk-sdk-go/v2/jwt"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/auth"
	"github.com/lockstephq/lockstep/clerk"
	"github.com/lockstephq/lockstep/internal/emulator"
)

// BenchmarkMiddleware compares requests per second over loopback: an empty
// handler, the same behind RequireAuth, and behind clerk-sdk-go's middleware.
// The three take turns and medians count. Each has its keys cached; Lockstep
// has the token cached too and looks up a profile.
func BenchmarkMiddleware(b *testing.B) {
	server, err := emulator.NewClerk(emulator.ClerkOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	token, err := benchToken(b, server)
	if err != nil {
		b.Fatal(err)
	}
	empty := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	names := []string{"empty", "lockstep", "sdk"}
	urls := make([]string, len(names))
	for i, h := range []http.Handler{empty, guarded(b, server, empty), behindSDK(server, empty)} {
		listener := httptest.NewServer(h)
		defer listener.Close()
		urls[i] = listener.URL
	}
	const turns = 15
	rates := make([][]float64, len(names))
	for b.Loop() {
		for range turns {
			for i, url := range urls {
				rates[i] = append(rates[i], requestsPerSecond(b, url, token))
			}
		}
	}
	for i, name := range names {
		slices.Sort(rates[i])
		b.ReportMetric(median(rates[i]), name+"-req/s")
		b.ReportMetric(median(rates[i])/median(rates[0]), name+"-x-empty")
	}
}

func median(sorted []float64) float64 { return sorted[len(sorted)/2] }

// benchToken makes a token for a user, once both sides can reach the keys.
func benchToken(b *testing.B, server *emulator.Clerk) (string, error) {
	listener := httptest.NewServer(server)
	b.Cleanup(listener.Close)
	server.SetBaseURL(listener.URL)
	return server.MintToken(emulator.TokenSpec{UserID: ada, Lifetime: time.Hour})
}

func guarded(b *testing.B, server *emulator.Clerk, next http.Handler) http.Handler {
	verifier, err := clerk.NewTokenVerifier(clerk.TokenConfig{Issuer: server.Issuer()})
	if err != nil {
		b.Fatal(err)
	}
	guard, err := auth.New(auth.Config{Verifier: verifier, Fetch: func(_ context.Context, id string) (lockstep.Profile, error) {
		return lockstep.Profile{ID: id}, nil
	}})
	if err != nil {
		b.Fatal(err)
	}
	return guard.RequireAuth(next)
}

func behindSDK(server *emulator.Clerk, next http.Handler) http.Handler {
	issuer := server.Issuer()
	keys := jwks.NewClient(sdkConfig(issuer, server.SecretKey()))
	return sdkhttp.RequireHeaderAuthorization(sdkhttp.JWKSClient(keys), func(p *sdkhttp.AuthorizationParams) error {
		p.VerifyParams = jwt.VerifyParams{ProxyURL: &issuer}
		return nil
	})(next)
}

// requestsPerSecond sends requests over 8 connections.
func requestsPerSecond(b *testing.B, url, token string) float64 {
	const workers, each = 8, 250
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	defer client.CloseIdleConnections()
	began := time.Now()
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range each {
				r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
				if err != nil {
					b.Error(err)
					return
				}
				r.Header.Set("Authorization", "Bearer "+token)
				answer, err := client.Do(r)
				if err != nil || answer.StatusCode != http.StatusOK {
					b.Error(answer, err)
					return
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
			}
		})
	}
	group.Wait()
	return workers * each / time.Since(began).Seconds()
}

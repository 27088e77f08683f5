package auth_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"context"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/auth"
	"github.com/lockstephq/lockstep/clerk"
	"github.com/lockstephq/lockstep/internal/emulator"
)

// BenchmarkRequireAuth is the hot path in memory: a token and a profile that
// were seen before.
func BenchmarkRequireAuth(b *testing.B) {
	server, err := emulator.NewClerk(emulator.ClerkOptions{BaseURL: "http://clerk.example.test"})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	verifier, err := clerk.NewTokenVerifier(clerk.TokenConfig{Issuer: server.Issuer(), JWTKey: server.PublicKeyPEM()})
	if err != nil {
		b.Fatal(err)
	}
	guard, err := auth.New(auth.Config{Verifier: verifier, TTL: time.Hour, Fetch: func(_ context.Context, id string) (lockstep.Profile, error) {
		return lockstep.Profile{ID: id}, nil
	}})
	if err != nil {
		b.Fatal(err)
	}
	token, err := server.MintToken(emulator.TokenSpec{UserID: "user_2tSYNTHada", Lifetime: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	h := guard.RequireAuth(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequest("GET", "/v1/auth", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
	if w.Code != http.StatusOK {
		b.Fatal(w.Code)
	}
}

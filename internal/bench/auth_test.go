package bench_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/lockstephq/lockstep/internal/emulator"
)

// emptyRole makes the test binary a server whose handler does nothing.
const emptyRole = app.Role("empty")

func serveEmpty() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // whatever ends it, the parent is gone
		_ = l.Close()
	}()
	_ = http.Serve(l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) // ends with the listener
	return nil
}

// BenchmarkAuth measures /v1/auth for known callers beside an empty handler:
// each in a process of its own, in turns, over 16 keep-alive connections.
func BenchmarkAuth(b *testing.B) {
	w := newWorld(b)
	w.migrated(b, "auth")
	clerk := newTimedClerk(b)
	w.events.env = append(w.events.env, "CLERK_AUTHORIZED_PARTIES=")
	for _, s := range clerk.Settings() {
		w.events.env = append(w.events.env, s.Name+"="+s.Value)
	}
	u, err := clerk.CreateUser(emulator.UserSpec{FirstName: "Ada"})
	must(b, err)
	token, err := clerk.MintToken(emulator.TokenSpec{UserID: u.ID, Lifetime: time.Hour})
	must(b, err)
	ours, empty := w.serve(b, "auth", app.RoleWeb, 0), w.serve(b, "empty", emptyRole, 0)
	callMe(b, ours.addr, token)
	var rates, bare, ratios []float64
	for range 5 {
		bare = append(bare, hammer(b, empty.addr, token))
		rates = append(rates, hammer(b, ours.addr, token))
		ratios = append(ratios, rates[len(rates)-1]/bare[len(bare)-1])
	}
	table("GET /v1/auth of known callers, 16 connections (medians of 5 rounds of 2s, in turns)",
		"|requests/s|ratio", fmt.Sprintf("empty handler|%.0f|1.00", median(bare)),
		fmt.Sprintf("/v1/auth|%.0f|%.2f", median(rates), median(ratios)), "aim||0.60")
	b.ReportMetric(median(ratios), "ratio-to-empty")
}

// hammer returns how many requests per second were answered 200.
func hammer(b *testing.B, addr, token string) float64 {
	b.Helper()
	const length = 2 * time.Second
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	counts, start := make([]int, connections), time.Now()
	for i := range connections {
		wg.Go(func() {
			for time.Since(start) < length {
				r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+addr+"/v1/auth", nil)
				if err != nil {
					b.Error(err)
					return
				}
				r.Header.Set("Authorization", "Bearer "+token)
				resp, err := client.Do(r)
				if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
					b.Errorf("/v1/auth: %v, %v", resp, err)
					return
				}
				counts[i]++
			}
		})
	}
	wg.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / time.Since(start).Seconds()
}

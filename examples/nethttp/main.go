// Command nethttp is a small API behind Clerk, without a database of its own:
//
//	CLERK_SECRET_KEY=sk_test_… CLERK_ISSUER=https://clerk.example.com go run ./examples/nethttp
//	curl -H "Authorization: Bearer $TOKEN" localhost:8081/hello
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/auth"
	"github.com/lockstephq/lockstep/clerk"
)

func main() {
	verifier, err := clerk.NewTokenVerifier(clerk.TokenConfig{Issuer: os.Getenv("CLERK_ISSUER")})
	exitOn(err)
	client, err := clerk.NewClient(clerk.ClientConfig{SecretKey: os.Getenv("CLERK_SECRET_KEY"), BaseURL: os.Getenv("CLERK_API_URL")})
	exitOn(err)
	guard, err := auth.New(auth.Config{Verifier: verifier, Fetch: fetch(client), Log: slog.Default()})
	exitOn(err)
	exitOn(http.ListenAndServe("localhost:8081", handler(guard)))
}

func handler(guard *auth.Guard) http.Handler {
	hello := func(w http.ResponseWriter, r *http.Request) {
		session, ok := auth.FromContext(r.Context())
		if !ok {
			fmt.Fprintln(w, "Hello, stranger")
			return
		}
		fmt.Fprintf(w, "Hello, %s (%s)\n", session.Profile.Username, session.UserID)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /hello", guard.RequireAuth(http.HandlerFunc(hello)))
	mux.Handle("GET /", guard.OptionalAuth(http.HandlerFunc(hello)))
	return mux
}

// fetch reads a profile from Clerk; a program with a database would keep it.
func fetch(client *clerk.Client) auth.Fetch {
	return func(ctx context.Context, userID string) (lockstep.Profile, error) {
		user, err := client.GetUser(ctx, userID)
		if errors.Is(err, clerk.ErrNotFound) {
			return lockstep.Profile{}, auth.ErrNoUser
		}
		return lockstep.Profile{ID: user.ID, Username: user.ProfileName(), Email: user.Email, Banned: user.Barred()}, err
	}
}

func exitOn(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

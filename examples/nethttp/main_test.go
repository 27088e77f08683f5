package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/lockstephq/lockstep/auth"
	"github.com/lockstephq/lockstep/clerk"
	"github.com/lockstephq/lockstep/internal/emulator"
)

func TestHello(t *testing.T) {
	t.Parallel()
	server, err := emulator.NewClerk(emulator.ClerkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server)
	server.SetBaseURL(listener.URL)
	t.Cleanup(func() { listener.Close(); server.Close() })
	verifier, err := clerk.NewTokenVerifier(clerk.TokenConfig{Issuer: listener.URL})
	if err != nil {
		t.Fatal(err)
	}
	client, err := clerk.NewClient(clerk.ClientConfig{SecretKey: server.SecretKey(), BaseURL: listener.URL})
	if err != nil {
		t.Fatal(err)
	}
	guard, err := auth.New(auth.Config{Verifier: verifier, Fetch: fetch(client)})
	if err != nil {
		t.Fatal(err)
	}
	user, err := server.CreateUser(emulator.UserSpec{Username: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	token, err := server.MintToken(emulator.TokenSpec{UserID: user.ID})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path, token string
		status      int
		body        string
	}{
		{"/hello", token, http.StatusOK, "Hello, ada (" + user.ID + ")\n"},
		{"/hello", "", http.StatusUnauthorized, ""},
		{"/", token, http.StatusOK, "Hello, ada (" + user.ID + ")\n"},
		{"/", "", http.StatusOK, "Hello, stranger\n"},
	} {
		r := httptest.NewRequest("GET", test.path, nil)
		if test.token != "" {
			r.Header.Set("Authorization", "Bearer "+test.token)
		}
		w := httptest.NewRecorder()
		handler(guard).ServeHTTP(w, r)
		if w.Code != test.status || (test.body != "" && w.Body.String() != test.body) {
			t.Errorf("%s: %d %q", test.path, w.Code, w.Body)
		}
	}
}

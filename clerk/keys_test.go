package clerk

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockstephq/lockstep/internal/emulator"
)

// These tests run in made-up time: a sleep takes none.

func (w world) verify(t *testing.T, token string) error {
	t.Helper()
	_, err := w.verifier.Verify(t.Context(), token, false)
	synctest.Wait() // let a fetch in the background end
	return err
}

func (w world) fetches() int { return w.Faults.Total(keysRoute) }

func TestKeysAreFetchedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.ClerkOptions{})
		w.fail(t, keysRoute, emulator.Fault{Action: emulator.ActionPass, Delay: time.Second})
		token := w.token(t)
		var group sync.WaitGroup
		for range 64 {
			group.Go(func() {
				if _, err := w.verifier.Verify(t.Context(), token, false); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		for range 100 {
			time.Sleep(time.Second)
			if err := w.verify(t, token); err != nil {
				t.Fatal(err)
			}
		}
		if n := w.fetches(); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
	})
}

func TestNewKeyIsFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.ClerkOptions{})
		old := w.token(t)
		if err := w.verify(t, old); err != nil {
			t.Fatal(err)
		}
		if _, err := w.RotateKey(testKeys()[1]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keysPause)
		for name, token := range map[string]string{"new": w.token(t), "old": old} {
			if err := w.verify(t, token); err != nil {
				t.Errorf("%s key: %v", name, err)
			}
		}
		if n := w.fetches(); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
	})
}

// A removed key dies although its tokens are cached and still valid: under
// traffic, and after a night without any.
func TestRemovedKeyDies(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]time.Duration{"under traffic": 10 * time.Second, "after a night": 9 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, emulator.ClerkOptions{})
			token := w.token(t)
			if err := w.verify(t, token); err != nil {
				t.Fatal(err)
			}
			if _, err := w.RotateKey(testKeys()[1]); err != nil {
				t.Fatal(err)
			}
			if err := w.RemoveKey(w.InstanceID()); err != nil {
				t.Fatal(err)
			}
			removed := time.Now()
			var err error
			for err == nil && time.Since(removed) < 24*time.Hour {
				time.Sleep(step)
				err = w.verify(t, token)
			}
			if lived := time.Since(removed); !errors.Is(err, ErrToken) || lived > max(step, keysFresh+step) {
				t.Errorf("%s: %v after %v", name, err, lived)
			}
		})
	}
}

func TestCachedTokenDiesWithItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.ClerkOptions{})
		token := w.mint(t, emulator.TokenSpec{UserID: ada})
		hash := sha256.Sum256([]byte(token))
		for age := time.Duration(0); age < 60*time.Second+Skew; age += time.Second {
			if err := w.verify(t, token); err != nil {
				t.Fatalf("after %v: %v", age, err)
			}
			if _, known := w.verifier.known(t.Context(), hash); known != (age < 60*time.Second) {
				t.Fatalf("after %v: known %v", age, known)
			}
			time.Sleep(time.Second)
		}
		if err := w.verify(t, token); !errors.Is(err, ErrToken) {
			t.Errorf("after its time: %v", err)
		}
	})
}

// A fetch that brings the same keys again leaves verified tokens known; another
// key under the same id does not.
func TestCachedTokenDiesWithItsKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		current := testKeys()[0]
		v := verifierOf(t, func(w http.ResponseWriter, _ *http.Request) {
			n := encodePart(t, string(current.N.Bytes()))
			fmt.Fprintf(w, `{"keys":[{"kid":%q,"kty":"RSA","e":"AQAB","n":%q}]}`, goodHeader()["kid"], n)
		})
		now := time.Now().Unix()
		token := signed(t, current, goodHeader(), with(goodClaims(), object{"iat": now, "nbf": now, "exp": now + 86400}))
		hash := sha256.Sum256([]byte(token))
		for range 2 {
			if _, err := v.Verify(t.Context(), token, false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(keysUsed)
			if _, known := v.known(t.Context(), hash); !known {
				t.Error("forgotten though its key is still published")
			}
		}
		current = testKeys()[1]
		time.Sleep(keysUsed)
		if _, err := v.Verify(t.Context(), token, false); !errors.Is(err, ErrToken) {
			t.Error(err)
		}
	})
}

func TestStaleKeysWhileClerkIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.ClerkOptions{})
		token := w.token(t)
		if err := w.verify(t, token); err != nil {
			t.Fatal(err)
		}
		w.fail(t, keysRoute, emulator.Fault{Action: emulator.ActionRefuse, Status: http.StatusBadGateway})
		for range 11 {
			time.Sleep(keysFresh)
			if err := w.verify(t, token); err != nil {
				t.Fatal(err)
			}
		}
		if unknown := w.mint(t, emulator.TokenSpec{UserID: ada, Header: object{"kid": "ins_new"}}); true {
			time.Sleep(time.Second)
			if err := w.verify(t, unknown); !errors.Is(err, ErrKeysUnavailable) {
				t.Errorf("a key that may be new: %v", err)
			}
		}
		time.Sleep(keysFresh) // an hour in all
		if err := w.verify(t, token); !errors.Is(err, ErrKeysUnavailable) {
			t.Errorf("after an hour: %v", err)
		}
		w.fail(t, "", emulator.Fault{})
		time.Sleep(keysPauseError)
		if err := w.verify(t, token); err != nil {
			t.Errorf("Clerk is back: %v", err)
		}
	})
}

func TestNoKeysAtAll(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]emulator.Fault{
		"refused": {Action: emulator.ActionRefuse}, "broken": {Action: emulator.ActionDropBefore},
		"hanging": {Action: emulator.ActionPass, Delay: time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, emulator.ClerkOptions{})
			w.fail(t, keysRoute, fault)
			began, token := time.Now(), w.token(t)
			for range 100 {
				if err := w.verify(t, token); !errors.Is(err, ErrKeysUnavailable) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if err := w.verifier.Ready(t.Context()); !errors.Is(err, ErrKeysUnavailable) {
				t.Errorf("%s: Ready: %v", name, err)
			}
			if n := w.fetches(); n > 1 || time.Since(began) > keysTimeout {
				t.Errorf("%s: %d fetches in %v", name, n, time.Since(began))
			}
			w.fail(t, "", emulator.Fault{})
			time.Sleep(keysPauseError)
			if err := w.verifier.Ready(t.Context()); err != nil || w.verify(t, token) != nil {
				t.Errorf("%s: Clerk is back: %v", name, err)
			}
		})
	}
}

// A caller who leaves does not wait, and does not end the fetch for the others.
func TestImpatientCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.ClerkOptions{})
		w.fail(t, keysRoute, emulator.Fault{Action: emulator.ActionPass, Delay: 3 * time.Second})
		token := w.token(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := w.verifier.Verify(ctx, token, false); !errors.Is(err, ErrKeysUnavailable) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := w.verify(t, token); err != nil || w.fetches() != 1 {
			t.Errorf("%v, %d fetches", err, w.fetches())
		}
	})
}

func TestStormOfUnknownKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.ClerkOptions{})
		var group sync.WaitGroup
		for i := range 1000 {
			token := signed(t, testKeys()[1], with(goodHeader(), object{"kid": fmt.Sprintf("ins_%d", i)}), goodClaims())
			group.Go(func() {
				time.Sleep(time.Duration(i) * time.Minute / 1000)
				if _, err := w.verifier.Verify(t.Context(), token, false); !errors.Is(err, ErrToken) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if n := w.fetches(); n > 13 {
			t.Errorf("%d fetches in a minute", n)
		}
	})
}

func TestKeysOfTheBackendAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.ClerkOptions{})
	c := TokenConfig{Issuer: w.Issuer(), JWKSURL: w.Issuer() + "/v1/jwks", SecretKey: w.SecretKey(), HTTP: w.http()}
	v, err := NewTokenVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), w.token(t), true); err != nil || w.Faults.Total("GET /v1/jwks") != 1 {
		t.Error(err)
	}
}

// Two instances may number their keys alike; a verifier knows its own.
func TestInstancesShareNoKeys(t *testing.T) {
	t.Parallel()
	ours := newWorld(t, emulator.ClerkOptions{InstanceID: "ins_1"})
	theirs, err := emulator.NewClerk(emulator.ClerkOptions{InstanceID: "ins_1", Key: testKeys()[1], BaseURL: ours.Issuer()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(theirs.Close)
	token, err := theirs.MintToken(emulator.TokenSpec{UserID: ada})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ours.verifier.Verify(t.Context(), token, false); !errors.Is(err, ErrToken) {
		t.Error(err)
	}
}

func TestBadKeySets(t *testing.T) {
	t.Parallel()
	n := encodePart(t, string(testKeys()[0].N.Bytes()))
	key := func(fields string) string { return fmt.Sprintf(`{"keys":[{"n":%q,%s}]}`, n, fields) }
	for name, body := range map[string]string{
		"no JSON":        "<html>",
		"empty":          `{"keys":[]}`,
		"no id":          key(`"e":"AQAB","kty":"RSA"`),
		"for encryption": key(`"e":"AQAB","kty":"RSA","kid":"k","use":"enc"`),
		"another alg":    key(`"e":"AQAB","kty":"RSA","kid":"k","alg":"RS512"`),
		"another kind":   key(`"e":"AQAB","kty":"EC","kid":"k"`),
		"exponent 1":     key(`"e":"AQ","kty":"RSA","kid":"k"`),
		"even exponent":  key(`"e":"BA","kty":"RSA","kid":"k"`),
		"long exponent":  key(`"e":"AQAAAAAB","kty":"RSA","kid":"k"`),
		"short modulus":  `{"keys":[{"n":"AQAB","e":"AQAB","kty":"RSA","kid":"k"}]}`,
		"too long":       `{"x":"` + strings.Repeat("x", maxKeySet) + `",` + key(`"e":"AQAB","kty":"RSA","kid":"k"`)[1:],
	} {
		v := verifierOf(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		if err := v.Ready(t.Context()); !errors.Is(err, ErrKeysUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	v := verifierOf(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, key(`"e":"AQAB","kty":"RSA","kid":"k"`)) })
	if err := v.Ready(t.Context()); err != nil {
		t.Errorf("a good one: %v", err)
	}
	v = verifierOf(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://evil.example/", http.StatusFound)
	})
	if err := v.Ready(t.Context()); !errors.Is(err, ErrKeysUnavailable) {
		t.Errorf("a redirect was followed: %v", err)
	}
}

func verifierOf(t *testing.T, serve http.HandlerFunc) *TokenVerifier {
	t.Helper()
	client := &http.Client{Transport: direct{serve}, CheckRedirect: newHTTPClient().CheckRedirect}
	v, err := NewTokenVerifier(TokenConfig{Issuer: issuer, HTTP: client})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTokenCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newTokenCache(100)
	hash := func(i int) tokenHash { return tokenHash{byte(i), byte(i >> 8)} }
	for i := range 1000 {
		c.put(hash(i), seenToken{claims: &Claims{SessionID: fmt.Sprint(i)}, key: &rsa.PublicKey{}})
		if _, ok := c.get(hash(0)); !ok {
			t.Fatal("a token in use was forgotten")
		}
	}
	if n := len(c.young) + len(c.old); n > 100 {
		t.Errorf("%d tokens", n)
	}
	if _, ok := c.get(hash(500)); ok {
		t.Error("a token out of use was kept")
	}
	c.put(hash(1), seenToken{claims: &Claims{payload: make([]byte, maxCachedPayload+1)}})
	if _, ok := c.get(hash(1)); ok {
		t.Error("a huge token was kept")
	}
}

package clerk

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// How old a key set may be. Clerk's own SDK keeps keys for 5 minutes.
const (
	keysFresh = 5 * time.Minute  // used as it is
	keysUsed  = 10 * time.Minute // used while a new one is fetched; after that, requests wait for the new one
	keysStale = time.Hour        // used if no new one can be had

	keysPause      = 5 * time.Second // between two fetches, whatever requests ask for
	keysPauseError = time.Second     // the same after a failure
	keysTimeout    = 5 * time.Second
	maxKeySet      = 256 << 10 // bytes
)

// oneKey is the key of CLERK_JWT_KEY, which signs whatever its id.
type oneKey struct{ public *rsa.PublicKey }

func (k oneKey) key(context.Context, string) (*rsa.PublicKey, error) { return k.public, nil }

// keyring is one instance's published keys. The set is replaced as a whole, so
// a key that Clerk removed is gone with the next fetch. Keys are fetched when
// requests need them, by one at a time, and never more often than keysPause:
// made-up key ids cannot make a storm.
type keyring struct {
	url, secret string
	http        *http.Client
	now         func() time.Time
	set         atomic.Pointer[keySet] // nil before the first

	mu      sync.Mutex
	running chan struct{} // closed at the end of the fetch under way; nil if there is none
	ended   time.Time     // when the last fetch ended
	err     error         // how it ended
}

type keySet struct {
	keys    map[string]*rsa.PublicKey
	fetched time.Time
}

func newKeyring(c TokenConfig) *keyring {
	k := &keyring{url: c.JWKSURL, secret: c.SecretKey, http: c.HTTP, now: c.Now}
	if k.url == "" {
		k.url = c.Issuer + "/.well-known/jwks.json"
	}
	if k.http == nil {
		k.http = newHTTPClient()
	}
	return k
}

func (k *keyring) key(ctx context.Context, id string) (*rsa.PublicKey, error) {
	set, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	if key, ok := set.keys[id]; ok {
		return key, nil
	}
	if id == "" {
		return nil, tokenError("no key id")
	}
	if set, err = k.refresh(ctx); err != nil { // the key may be new
		return nil, err
	}
	if key, ok := set.keys[id]; ok {
		return key, nil
	}
	return nil, tokenError("unknown key")
}

// current returns the set to use now.
func (k *keyring) current(ctx context.Context) (*keySet, error) {
	set := k.set.Load()
	if set == nil {
		return k.refresh(ctx)
	}
	age := k.now().Sub(set.fetched)
	if age >= keysFresh && age < keysUsed {
		k.start()
	}
	if age < keysUsed {
		return set, nil
	}
	fresh, err := k.refresh(ctx)
	if err != nil && age < keysStale {
		return set, nil
	}
	return fresh, err
}

// refresh waits for a fetch, or for nothing if the last one has only just ended:
// then its outcome stands.
func (k *keyring) refresh(ctx context.Context) (*keySet, error) {
	if running := k.start(); running != nil {
		select {
		case <-running:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrKeysUnavailable, ctx.Err())
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeysUnavailable, k.err)
	}
	return k.set.Load(), nil
}

// start begins a fetch, unless one is under way or has only just ended. It
// returns what is closed at the end of the one under way.
func (k *keyring) start() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	pause := keysPause
	if k.err != nil {
		pause = keysPauseError
	}
	if k.running == nil && (k.ended.IsZero() || k.now().Sub(k.ended) >= pause) {
		k.running = make(chan struct{})
		go k.replace()
	}
	return k.running
}

// replace fetches for all who wait: it does not end with one of them.
func (k *keyring) replace() {
	ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
	defer cancel()
	began := k.now()
	keys, err := k.fetch(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.keepKnown(keys)
		k.set.Store(&keySet{keys, began})
	}
	k.err, k.ended = err, k.now()
	close(k.running)
	k.running = nil
}

// keepKnown leaves a key that has not changed in its place, and with it the
// verified tokens that point there.
func (k *keyring) keepKnown(keys map[string]*rsa.PublicKey) {
	old := k.set.Load()
	if old == nil {
		return
	}
	for id, key := range keys {
		if known, ok := old.keys[id]; ok && known.Equal(key) {
			keys[id] = known
		}
	}
}

func (k *keyring) fetch(ctx context.Context) (map[string]*rsa.PublicKey, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, errors.New("the address of the key set is malformed")
	}
	r.Header.Set("User-Agent", userAgent)
	if k.secret != "" {
		r.Header.Set("Authorization", "Bearer "+k.secret)
		r.Header.Set("Clerk-API-Version", apiVersion)
	}
	answer, err := k.http.Do(r)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", answer.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxKeySet))
	if err != nil {
		return nil, err
	}
	return parseKeySet(data)
}

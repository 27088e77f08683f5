package clerk

import (
	"crypto/rsa"
	"crypto/sha256"
	"sync"
)

// tokenHash stands for a token: a cache of tokens would be a cache of secrets.
type tokenHash = [sha256.Size]byte

// seenToken is a token that was verified with a key.
type seenToken struct {
	claims *Claims
	keyID  string
	key    *rsa.PublicKey
}

// maxCachedPayload keeps a full cache small, in bytes of claims. Longer tokens
// are verified each time.
const maxCachedPayload = 4 << 10

// tokenCache is bounded and forgets in two generations: once the young one is
// full it becomes the old one, whose entries go unless somebody asks for them.
// Whether an entry still holds is the verifier's question at every use.
type tokenCache struct {
	limit int // of each generation

	mu         sync.RWMutex
	young, old map[tokenHash]seenToken
}

func newTokenCache(limit int) *tokenCache {
	return &tokenCache{limit: max(1, limit/2), young: map[tokenHash]seenToken{}}
}

func (c *tokenCache) get(hash tokenHash) (seenToken, bool) {
	c.mu.RLock()
	seen, ok := c.young[hash]
	if ok {
		c.mu.RUnlock()
		return seen, true
	}
	seen, ok = c.old[hash]
	c.mu.RUnlock()
	if ok {
		c.put(hash, seen)
	}
	return seen, ok
}

func (c *tokenCache) put(hash tokenHash, seen seenToken) {
	if len(seen.claims.payload) > maxCachedPayload {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.limit {
		c.young, c.old = make(map[tokenHash]seenToken, c.limit), c.young
	}
	c.young[hash] = seen
}

package emulator

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

const keyBits = 2048

// signingKey is a key of the instance under its id in the key set.
type signingKey struct {
	id      string
	private *rsa.PrivateKey
}

// jwk is a public key as Clerk publishes it.
type jwk struct {
	Use string `json:"use"`
	Kty string `json:"kty"`
	Kid string `json:"kid"`
	Alg string `json:"alg"`
	N   string `json:"n"`
	E   string `json:"e"`
}

type jwks struct {
	Keys []jwk `json:"keys"`
}

// RotateKey adds a key, a new one if it is nil, that signs from now on, and
// returns its id. The old ones stay published until RemoveKey.
func (c *Clerk) RotateKey(key *rsa.PrivateKey) (string, error) {
	id := c.random.id("ins_", c.options.Now())
	return id, c.addKey(id, key)
}

func (c *Clerk) addKey(id string, key *rsa.PrivateKey) error {
	if key == nil {
		fresh, err := rsa.GenerateKey(rand.Reader, keyBits)
		if err != nil {
			return fmt.Errorf("make a signing key: %w", err)
		}
		key = fresh
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = append(c.keys, signingKey{id, key})
	return nil
}

// RemoveKey takes a key out of the published set. It fails for the last one and
// for one that is not there.
func (c *Clerk) RemoveKey(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.keys) == 1 {
		return errors.New("the last key cannot be removed")
	}
	at := slices.IndexFunc(c.keys, func(k signingKey) bool { return k.id == id })
	if at < 0 {
		return notFound(id)
	}
	c.keys = slices.Delete(c.keys, at, at+1)
	return nil
}

// PublicKeyPEM is the key that signs, as CLERK_JWT_KEY takes it.
func (c *Clerk) PublicKeyPEM() string {
	key, _ := c.signingKey("") // there is always one
	der, err := x509.MarshalPKIXPublicKey(&key.private.PublicKey)
	if err != nil {
		panic(err) // an RSA key always marshals
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// signingKey finds a key by its id; "" means the newest.
func (c *Clerk) signingKey(id string) (signingKey, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	newest := c.keys[len(c.keys)-1]
	id = cmp.Or(id, newest.id)
	for _, key := range c.keys {
		if key.id == id {
			return key, nil
		}
	}
	return signingKey{}, notFound(id)
}

func (c *Clerk) keySet() jwks {
	c.mu.RLock()
	defer c.mu.RUnlock()
	set := jwks{Keys: make([]jwk, len(c.keys))}
	for i, key := range c.keys {
		public := key.private.PublicKey
		set.Keys[i] = jwk{
			Use: "sig", Kty: "RSA", Kid: key.id, Alg: "RS256",
			N: base64.RawURLEncoding.EncodeToString(public.N.Bytes()),
			E: base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes()),
		}
	}
	return set
}

// signJWT makes a compact RS256 token (RFC 7515).
func signJWT(key *rsa.PrivateKey, header, claims map[string]any) (string, error) {
	head, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("token header: %w", err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("token claims: %w", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode(head) + "." + encode(body)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return signed + "." + encode(signature), nil
}

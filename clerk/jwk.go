package clerk

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
)

// Bounds of what is taken for a key. Clerk's have 2048 bits.
const (
	minKeyBits = 2048
	maxKeyBits = 8192
	maxKeys    = 64
)

// parsePublicKey reads CLERK_JWT_KEY: PEM, also with its line breaks written as
// \n or lost, as happens on the way through an environment.
func parsePublicKey(text string) (*rsa.PublicKey, error) {
	text = strings.TrimSpace(strings.ReplaceAll(text, `\n`, "\n"))
	der, rest := []byte(nil), []byte(nil)
	if block, after := pem.Decode([]byte(text)); block != nil {
		der, rest = block.Bytes, bytes.TrimSpace(after)
	} else {
		text = strings.TrimPrefix(text, "-----BEGIN PUBLIC KEY-----")
		text = strings.TrimSuffix(text, "-----END PUBLIC KEY-----")
		der, _ = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	}
	if len(rest) > 0 {
		return nil, errors.New("the JWT key holds more than one key")
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("the JWT key is not a public key in PEM")
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok || !usable(key) {
		return nil, errors.New("the JWT key is not an RSA key of 2048 bits or more")
	}
	return key, nil
}

func usable(key *rsa.PublicKey) bool {
	bits := key.N.BitLen()
	return bits >= minKeyBits && bits <= maxKeyBits && key.E >= 3 && key.E%2 == 1
}

// parseKeySet reads a JWK set (RFC 7517) and leaves out keys that cannot sign
// session tokens. It fails on a set without any: Clerk always has one, and an
// empty answer must not sign everybody out.
func parseKeySet(data []byte) (map[string]*rsa.PublicKey, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, errors.New("the answer is not a key set")
	}
	keys := map[string]*rsa.PublicKey{}
	for _, wire := range set.Keys {
		if key, ok := wire.key(); ok && len(keys) < maxKeys {
			keys[wire.Kid] = key
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the key set has no RSA signing key")
	}
	return keys, nil
}

// jwk is a public key as it is published.
type jwk struct{ Use, Kty, Kid, Alg, N, E string }

func (w jwk) key() (*rsa.PublicKey, bool) {
	if w.Kid == "" || w.Kty != "RSA" || (w.Use != "" && w.Use != "sig") || (w.Alg != "" && w.Alg != "RS256") {
		return nil, false
	}
	n, err1 := base64.RawURLEncoding.DecodeString(w.N)
	e, err2 := base64.RawURLEncoding.DecodeString(w.E)
	if err1 != nil || err2 != nil || len(e) > 4 {
		return nil, false
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	return key, usable(key)
}

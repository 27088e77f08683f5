package emulator

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// parseToken verifies a token with the published keys and returns its parts.
func parseToken(t *testing.T, c *Clerk, token string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("token %q", token)
	}
	header = decode[map[string]any](t, fromBase64(t, parts[0]))
	claims = decode[map[string]any](t, fromBase64(t, parts[1]))
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	key := publishedKey(t, c, header["kid"])
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], fromBase64(t, parts[2])); err != nil {
		t.Fatalf("signature: %v", err)
	}
	return header, claims
}

func fromBase64(t *testing.T, text string) []byte {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func publishedKey(t *testing.T, c *Clerk, kid any) *rsa.PublicKey {
	t.Helper()
	set := decode[jwks](t, call(t, c, "GET", "/v1/jwks", nil).Body.Bytes())
	for _, key := range set.Keys {
		if key.Kid == kid {
			e := new(big.Int).SetBytes(fromBase64(t, key.E))
			return &rsa.PublicKey{N: new(big.Int).SetBytes(fromBase64(t, key.N)), E: int(e.Int64())}
		}
	}
	t.Fatalf("key %v is not published", kid)
	return nil
}

func TestTokenShapes(t *testing.T) {
	t.Parallel()
	shapes := readTestdata[struct {
		Tokens []struct {
			Name           string
			Header, Claims map[string]any
		}
	}](t, "token_shapes.json").Tokens
	c := newTestClerk(t, ClerkOptions{})
	var names []string
	for _, shape := range shapes {
		names = append(names, shape.Name)
		token, err := c.MintToken(TokenSpec{Shape: shape.Name, UserID: "user_2tSYNTHada00000000000000000", IssuedAt: time.Unix(1771934405, 0), AuthorizedParty: "https://shop.example.test"})
		if err != nil {
			t.Fatal(err)
		}
		header, claims := parseToken(t, c, token)
		if diff := cmp.Diff(withoutIDs(shape.Header), withoutIDs(header)); diff != "" {
			t.Errorf("%s header: %s", shape.Name, diff)
		}
		if diff := cmp.Diff(withoutIDs(shape.Claims), withoutIDs(claims)); diff != "" {
			t.Errorf("%s claims: %s", shape.Name, diff)
		}
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(names)), TokenShapes()); diff != "" {
		t.Errorf("shapes: %s", diff)
	}
}

// withoutIDs replaces ids, which differ between tokens, by their prefix, and the
// values that depend on the instance by nothing.
func withoutIDs(part map[string]any) map[string]any {
	part = maps.Clone(part)
	for key, value := range part {
		switch value := value.(type) {
		case map[string]any:
			part[key] = withoutIDs(value)
		case []any:
			if text, ok := value[0].(string); ok {
				part[key] = prefixOf(text)
			}
		case string:
			part[key] = prefixOf(value)
		}
		if key == "iss" || key == "azp" || key == "jti" && !strings.Contains(part[key].(string), "_") {
			part[key] = "any"
		}
	}
	return part
}

func prefixOf(text string) string {
	if prefix, _, found := strings.Cut(text, "_"); found && len(text) > 26 {
		return prefix + "_"
	}
	return text
}

func TestSessionTokenTimes(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	c := newTestClerk(t, ClerkOptions{Now: func() time.Time { return now }, Issuer: "https://clerk.shop.example.test"})
	token, err := c.MintToken(TokenSpec{UserID: "user_x", Header: map[string]any{"cat": nil}, Claims: map[string]any{"sub": nil, "aud": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	header, claims := parseToken(t, c, token)
	want := map[string]any{"iat": 1.8e9, "exp": 1.8e9 + 60, "nbf": 1.8e9 - 10, "iss": "https://clerk.shop.example.test", "azp": defaultParty, "aud": "x"}
	for claim, value := range want {
		if claims[claim] != value {
			t.Errorf("%s = %v, want %v", claim, claims[claim], value)
		}
	}
	if _, found := claims["sub"]; found || header["cat"] != nil {
		t.Error("nil removes no entry")
	}
	token, err = c.MintToken(TokenSpec{Shape: "m2m_jwt", Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if _, claims = parseToken(t, c, token); claims["exp"] != 1.8e9+3600 {
		t.Errorf("lifetime was not kept: %v", claims["exp"])
	}
	if _, err := c.MintToken(TokenSpec{Shape: "nonsense"}); err == nil {
		t.Error("an unknown shape was minted")
	}
}

func TestKeyRotation(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	old := mint(t, c, TokenSpec{})
	if header, _ := parseToken(t, c, old); header["kid"] != c.InstanceID() {
		t.Errorf("kid %v", header["kid"])
	}
	if err := c.RemoveKey(c.InstanceID()); err == nil {
		t.Error("the last key was removed")
	}
	kid, err := c.RotateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	parseToken(t, c, old) // still published
	if header, _ := parseToken(t, c, mint(t, c, TokenSpec{})); header["kid"] != kid {
		t.Errorf("the new key does not sign: %v", header["kid"])
	}
	parseToken(t, c, mint(t, c, TokenSpec{KeyID: c.InstanceID()}))
	if err := c.RemoveKey(c.InstanceID()); err != nil {
		t.Fatal(err)
	}
	if set := c.keySet(); len(set.Keys) != 1 || set.Keys[0].Kid != kid {
		t.Errorf("published: %+v", set)
	}
	if _, err := c.MintToken(TokenSpec{KeyID: c.InstanceID()}); err == nil {
		t.Error("a removed key signs")
	}
}

func mint(t *testing.T, c *Clerk, spec TokenSpec) string {
	t.Helper()
	token, err := c.MintToken(spec)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestPublicKeys(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	block, _ := pem.Decode([]byte(c.PublicKeyPEM()))
	if block == nil {
		t.Fatal("no PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !publishedKey(t, c, c.InstanceID()).Equal(key) {
		t.Error("PEM and key set differ")
	}
	public := serve(c, "GET", "/.well-known/jwks.json", "")
	private := call(t, c, "GET", "/v1/jwks", nil)
	if public.Code != http.StatusOK || public.Body.String() != private.Body.String() {
		t.Errorf("key sets differ: %s", public.Body)
	}
}

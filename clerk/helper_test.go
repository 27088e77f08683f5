package clerk

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/internal/emulator"
)

const (
	keysRoute = "GET /.well-known/jwks.json"
	userRoute = "GET /v1/users/{user_id}"
	listRoute = "GET /v1/users"
	ada       = "user_2tSYNTHada00000000000000000"
	shop      = "https://shop.example.test"
	issuer    = "https://clerk.shop.example.test"
	issuedAt  = 1771934405 // as in token_shapes.json
)

// testKeys are two keys for all tests: making them is slow.
var testKeys = sync.OnceValue(func() (keys [2]*rsa.PrivateKey) {
	for i := range keys {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic(err)
		}
	}
	return keys
})

func publicPEM(t testing.TB, key *rsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

type object = map[string]any

func encodePart(t testing.TB, part any) string {
	t.Helper()
	data, ok := part.(string)
	if !ok {
		raw, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		data = string(raw)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(data))
}

// signed is an RS256 token of a header and claims, which are objects or text.
func signed(t testing.TB, key *rsa.PrivateKey, header, claims any) string {
	t.Helper()
	text := encodePart(t, header) + "." + encodePart(t, claims)
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// with changes entries of a copy; nil removes one.
func with(base object, changes object) object {
	changed := maps.Clone(base)
	for name, value := range changes {
		if changed[name] = value; value == nil {
			delete(changed, name)
		}
	}
	return changed
}

func goodHeader() object {
	return object{"alg": "RS256", "kid": "ins_2tSYNTHinstance000000000000", "typ": "JWT", "cat": "cl_B7d4PD111AAA"}
}

func goodClaims() object {
	return object{
		"azp": shop, "exp": issuedAt + 60, "fva": []int{0, -1}, "iat": issuedAt, "iss": issuer,
		"jti": "10db7f531a90cb2faea4", "nbf": issuedAt - 10, "sid": "sess_2tSYNTHsession000000000000",
		"sts": "active", "sub": ada, "v": 2, "pla": "u:free", "fea": "u:wishlist", "role": "authenticated",
	}
}

// newVerifier is one with the first test key in PEM, at a moment when the
// tokens of token_shapes.json are valid, or as change says.
func newVerifier(t testing.TB, change func(*TokenConfig)) *TokenVerifier {
	t.Helper()
	c := TokenConfig{
		Issuer: issuer, AuthorizedParties: []string{shop}, JWTKey: publicPEM(t, testKeys()[0]), Now: at(issuedAt + 1),
	}
	if change != nil {
		change(&c)
	}
	v, err := NewTokenVerifier(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// direct reaches a server without a network, so that its time may be made up.
type direct struct{ server http.Handler }

func (d direct) RoundTrip(r *http.Request) (answer *http.Response, err error) {
	defer func() {
		if p := recover(); p == http.ErrAbortHandler {
			err = io.ErrUnexpectedEOF // how a broken connection looks
		} else if p != nil {
			panic(p)
		}
	}()
	incoming := r.Clone(r.Context())
	incoming.Body = http.NoBody
	w := httptest.NewRecorder()
	d.server.ServeHTTP(w, incoming)
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	return w.Result(), nil
}

// world is an emulated Clerk, with a verifier and a client that know it.
type world struct {
	*emulator.Clerk
	verifier *TokenVerifier
	client   *Client
}

func newWorld(t testing.TB, options emulator.ClerkOptions) world {
	t.Helper()
	options.BaseURL = "http://clerk.example.test"
	options.Key = testKeys()[0]
	server, err := emulator.NewClerk(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	w := world{Clerk: server}
	if w.verifier, err = NewTokenVerifier(TokenConfig{Issuer: server.Issuer(), HTTP: w.http()}); err != nil {
		t.Fatal(err)
	}
	w.client, err = NewClient(ClientConfig{SecretKey: server.SecretKey(), BaseURL: options.BaseURL, HTTP: w.http()})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w world) http() *http.Client {
	return &http.Client{Transport: direct{w.Clerk}, CheckRedirect: newHTTPClient().CheckRedirect}
}

// token is good for a day, so that only its key can end it.
func (w world) token(t testing.TB) string {
	t.Helper()
	return w.mint(t, emulator.TokenSpec{UserID: ada, Lifetime: 24 * time.Hour})
}

func (w world) mint(t testing.TB, spec emulator.TokenSpec) string {
	t.Helper()
	token, err := w.MintToken(spec)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// fail makes all requests of a route suffer; "" ends it.
func (w world) fail(t testing.TB, route string, fault emulator.Fault) {
	t.Helper()
	var rules []emulator.Rule
	if route != "" {
		rules = []emulator.Rule{{Route: route, Rate: 1, Fault: fault}}
	}
	if err := w.Faults.Set(rules...); err != nil {
		t.Fatal(err)
	}
}

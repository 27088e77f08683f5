package clerk

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lockstephq/lockstep/internal/emulator"
)

type shape struct {
	Name           string
	Accept         any // true, false, or a text that begins with "policy"
	Header, Claims object
	Permissions    []string `json:"decoded_permissions"`
}

func shapes(t testing.TB) []shape {
	t.Helper()
	data, err := os.ReadFile("testdata/token_shapes.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Tokens []shape }
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // 1771934465 must not become 1.771934465e+09
	if err := decoder.Decode(&file); err != nil || len(file.Tokens) != 9 {
		t.Fatalf("%d shapes: %v", len(file.Tokens), err)
	}
	return file.Tokens
}

func TestTokenShapes(t *testing.T) {
	t.Parallel()
	refused := map[string]error{
		"session_native_app_no_azp": ErrToken, "session_pending": ErrPending, "jwt_template": ErrToken,
		"oauth_access_token_jwt": ErrToken, "m2m_jwt": ErrToken,
	}
	for _, s := range shapes(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			v := newVerifier(t, func(c *TokenConfig) {
				c.Issuer = s.Claims["iss"].(string)
				c.AuthorizedParties = []string{shop, "http://localhost:3000"}
			})
			claims, err := v.Verify(t.Context(), signed(t, testKeys()[0], s.Header, s.Claims), false)
			if !errors.Is(err, refused[s.Name]) {
				t.Fatalf("Verify: %v, want %v", err, refused[s.Name])
			}
			if accept, ok := s.Accept.(bool); ok && accept != (err == nil) {
				t.Errorf("Verify: %v, but the note says accept: %v", err, s.Accept)
			}
			if err == nil && (claims.UserID != ada || claims.SessionID != s.Claims["sid"] || !cmp.Equal(claims.Org.Permissions, s.Permissions)) {
				t.Errorf("got %+v", claims)
			}
		})
	}
}

// The emulator makes the same classes by code of its own.
func TestTokensOfTheEmulator(t *testing.T) {
	t.Parallel()
	w := newWorld(t, emulator.ClerkOptions{})
	refused := map[string]error{
		"session_pending": ErrPending, "jwt_template": ErrToken, "oauth_access_token_jwt": ErrToken, "m2m_jwt": ErrToken,
	}
	for _, name := range emulator.TokenShapes() {
		token := w.mint(t, emulator.TokenSpec{UserID: ada, Shape: name})
		if _, err := w.verifier.Verify(t.Context(), token, false); !errors.Is(err, refused[name]) {
			t.Errorf("%s: %v, want %v", name, err, refused[name])
		}
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, nil)
	admin, err := v.Verify(t.Context(), signed(t, testKeys()[0], goodHeader(), with(goodClaims(), object{
		"fea": "u:wishlist,o:dashboard,ou:teams", "o": object{"id": "org_1", "slg": "example", "rol": "admin", "per": "manage,read", "fpm": "3,2"},
		"act":      object{"iss": "https://dashboard.clerk.com", "sid": "sess_admin", "sub": "user_admin"},
		"nickname": "Ada \u00e9",
	})), true)
	if err != nil {
		t.Fatal(err)
	}
	org := Org{ID: "org_1", Slug: "example", Role: "org:admin", Permissions: []string{"org:dashboard:manage", "org:dashboard:read", "org:teams:read"}}
	if diff := cmp.Diff(org, admin.Org); diff != "" {
		t.Error(diff)
	}
	if want := (Actor{UserID: "user_admin", SessionID: "sess_admin", Issuer: "https://dashboard.clerk.com"}); admin.Actor != want || !admin.Impersonated() {
		t.Errorf("actor %+v", admin.Actor)
	}
	if admin.Version != 2 || admin.AuthorizedParty != shop || admin.IssuedAt.Unix() != issuedAt || admin.ExpiresAt.Unix() != issuedAt+60 {
		t.Errorf("got %+v", admin)
	}
	var custom struct{ Nickname string }
	if err := admin.Decode(&custom); err != nil || custom.Nickname != "Ada \u00e9" {
		t.Errorf("custom claim %q, %v", custom.Nickname, err)
	}
	old, err := v.Verify(t.Context(), signed(t, testKeys()[0], goodHeader(), with(goodClaims(), object{
		"v": nil, "sts": nil, "org_id": "org_1", "org_slug": "example", "org_role": "org:admin", "org_permissions": []string{"org:teams:read"},
	})), true)
	if err != nil {
		t.Fatal(err)
	}
	org.Permissions = []string{"org:teams:read"}
	if diff := cmp.Diff(org, old.Org); diff != "" || old.Version != 1 || old.Impersonated() {
		t.Error(diff, old.Version)
	}
}

// A custom claim whose name differs by case is another claim; encoding/json
// would take one for the other.
func TestCustomClaimsDoNotShadow(t *testing.T) {
	t.Parallel()
	token := signed(t, testKeys()[0], goodHeader(), with(goodClaims(), object{
		"STS": "pending", "Sub": "user_somebodyelse", "O": 7, "Exp": "never", "org_permissions": 7, "metadata": object{"sub": "user_x", "a": []any{"}", object{}}},
	}))
	claims, err := newVerifier(t, nil).Verify(t.Context(), token, true)
	if err != nil || claims.UserID != ada {
		t.Errorf("%+v, %v", claims, err)
	}
}

func TestForgedTokens(t *testing.T) {
	t.Parallel()
	key, other := testKeys()[0], testKeys()[1]
	good := signed(t, key, goodHeader(), goodClaims())
	parts := strings.Split(good, ".")
	withHeader := func(changes object) string { return signed(t, key, with(goodHeader(), changes), goodClaims()) }
	none := encodePart(t, with(goodHeader(), object{"alg": "none"})) + "." + parts[1] + "."
	hs256 := encodePart(t, with(goodHeader(), object{"alg": "HS256"})) + "." + parts[1]
	mac := hmac.New(sha256.New, []byte(publicPEM(t, key)))
	mac.Write([]byte(hs256))
	evil := encodePart(t, with(goodClaims(), object{"sub": "user_evil"}))
	for name, token := range map[string]string{
		"empty":                  "",
		"garbage":                "garbage",
		"dots":                   "..",
		"garbage in three parts": "!!!.???.***",
		"no signature":           parts[0] + "." + parts[1],
		"empty signature":        parts[0] + "." + parts[1] + ".",
		"four parts":             good + ".x",
		"encrypted (5 parts)":    good + "." + parts[1] + "." + parts[2],
		"API key":                "ak_2tSYNTHkey",
		"opaque machine token":   "mt_2tSYNTHkey",
		"alg none":               none,
		"alg none, signed":       none + parts[2],
		"HS256, public key":      hs256 + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"HS256, RSA signature":   withHeader(object{"alg": "HS256"}),
		"RS512":                  withHeader(object{"alg": "RS512"}),
		"no alg":                 withHeader(object{"alg": nil}),
		"alg twice":              signed(t, key, `{"alg":"none","alg":"RS256","typ":"JWT","kid":"k"}`, goodClaims()),
		"tampered payload":       parts[0] + "." + evil + "." + parts[2],
		"tampered header":        encodePart(t, with(goodHeader(), object{"oiat": 1})) + "." + parts[1] + "." + parts[2],
		"another key":            signed(t, other, goodHeader(), goodClaims()),
		"brings its own key":     signed(t, other, with(goodHeader(), object{"jwk": object{"kty": "RSA"}, "jku": "https://evil.example"}), goodClaims()),
		"line break":             good[:len(good)-4] + "\n" + good[len(good)-4:],
		"padding":                good + "==",
		"header is no object":    signed(t, key, `[]`, goodClaims()),
		"header is no JSON":      signed(t, key, `{"alg":"RS256"`, goodClaims()),
		"typ OAuth":              withHeader(object{"typ": "at+jwt"}),
		"typ OAuth, long":        withHeader(object{"typ": "application/at+jwt"}),
		"no typ":                 withHeader(object{"typ": nil}),
		"typ is a number":        withHeader(object{"typ": 1}),
		"cat template":           withHeader(object{"cat": "cl_B7d4PD222AAA"}),
		"cat machine":            withHeader(object{"cat": "cl_B7d4PD333AAA"}),
		"cat of tomorrow":        withHeader(object{"cat": "cl_B7d4PD444AAA"}),
		"cat is a list":          withHeader(object{"cat": []string{"cl_B7d4PD111AAA"}}),
		"critical extension":     withHeader(object{"crit": []string{"b64"}, "b64": false}),
		"1 MB":                   signed(t, key, goodHeader(), with(goodClaims(), object{"x": strings.Repeat("x", 1<<20)})),
		"1 MB of dots":           strings.Repeat(".", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := newVerifier(t, nil).Verify(t.Context(), token, false); !errors.Is(err, ErrToken) {
				t.Errorf("Verify: %v, want ErrToken", err)
			}
		})
	}
}

func TestRefusedClaims(t *testing.T) {
	t.Parallel()
	secret := "sosecretclaim"
	for name, claims := range map[string]any{
		"expired by 1 min":          with(goodClaims(), object{"exp": issuedAt - 59}),
		"expired beyond the skew":   with(goodClaims(), object{"exp": issuedAt - 4}),
		"from the future":           with(goodClaims(), object{"iat": issuedAt + 60, "exp": issuedAt + 120}),
		"not before the future":     with(goodClaims(), object{"nbf": issuedAt + 60}),
		"no exp":                    with(goodClaims(), object{"exp": nil}),
		"no iat":                    with(goodClaims(), object{"iat": nil}),
		"no nbf":                    with(goodClaims(), object{"nbf": nil}),
		"exp null":                  `{"exp":null}`,
		"exp is text":               with(goodClaims(), object{"exp": "1771934465"}),
		"exp is too large":          with(goodClaims(), object{"exp": json.Number("99999999999999999999")}),
		"exp is negative":           with(goodClaims(), object{"exp": -1}),
		"iat is past all times":     with(goodClaims(), object{"iat": json.Number("9223372036854775807")}),
		"foreign issuer":            with(goodClaims(), object{"iss": "https://clerk.evil.example"}),
		"issuer with a suffix":      with(goodClaims(), object{"iss": issuer + ".evil.example"}),
		"issuer with a slash":       with(goodClaims(), object{"iss": issuer + "/"}),
		"no issuer":                 with(goodClaims(), object{"iss": nil}),
		"foreign azp":               with(goodClaims(), object{"azp": "https://" + secret + ".example"}),
		"no azp":                    with(goodClaims(), object{"azp": nil}),
		"azp is a list":             with(goodClaims(), object{"azp": []string{shop}}),
		"no sid":                    with(goodClaims(), object{"sid": nil}),
		"empty sid":                 with(goodClaims(), object{"sid": ""}),
		"no sub":                    with(goodClaims(), object{"sub": nil}),
		"machine":                   with(goodClaims(), object{"sub": "mch_2tSYNTHmachine"}),
		"sub with a path":           with(goodClaims(), object{"sub": "user_../" + secret}),
		"sub is a number":           with(goodClaims(), object{"sub": 7}),
		"session status unknown":    with(goodClaims(), object{"sts": secret}),
		"session status is a list":  with(goodClaims(), object{"sts": []string{"active"}}),
		"actor without a subject":   with(goodClaims(), object{"act": object{}}),
		"actor is text":             with(goodClaims(), object{"act": secret}),
		"organization is text":      with(goodClaims(), object{"o": secret}),
		"permissions are text":      with(goodClaims(), object{"v": nil, "org_permissions": secret}),
		"sub twice":                 `{"sub":"user_a","sub":"user_b"}`,
		"no object":                 `"` + secret + `"`,
		"no JSON":                   secret,
		"empty":                     "{}",
		"two objects":               "{}{}",
		"text after the object":     `{} x`,
		"unfinished":                `{"sub":"user_a"`,
		"unfinished in the nesting": `{"a":[{"b":"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := newVerifier(t, nil).Verify(t.Context(), signed(t, testKeys()[0], goodHeader(), claims), false)
			if !errors.Is(err, ErrToken) {
				t.Errorf("Verify: %v, want ErrToken", err)
			} else if strings.Contains(err.Error(), secret) {
				t.Errorf("the error repeats the claim: %v", err)
			}
		})
	}
}

func TestSkew(t *testing.T) {
	t.Parallel()
	for name, changes := range map[string]object{
		"expired a moment ago": {"exp": issuedAt - 3}, // 4 s at the verifier's time
		"issued in a moment":   {"iat": issuedAt + 6, "nbf": issuedAt + 6},
	} {
		token := signed(t, testKeys()[0], goodHeader(), with(goodClaims(), changes))
		if _, err := newVerifier(t, nil).Verify(t.Context(), token, false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whether a token may come without azp, or by proxy of an actor, is for the
// settings to say.
func TestPolicies(t *testing.T) {
	t.Parallel()
	noParty, foreign := object{"azp": nil}, object{"azp": "https://evil.example"}
	actor := object{"act": object{"sub": "user_admin"}}
	for _, test := range []struct {
		name       string
		parties    []string
		native     bool
		refuseAct  bool
		claims     object
		fromCookie bool
		want       error
	}{
		{"listed, cookie", []string{shop}, false, false, nil, true, nil},
		{"a cookie needs azp", nil, true, false, noParty, true, ErrToken},
		{"a cookie needs azp, with a list", []string{shop}, true, false, noParty, true, ErrToken},
		{"a bearer needs azp if there is a list", []string{shop}, false, false, noParty, false, ErrToken},
		{"native apps", []string{shop}, true, false, noParty, false, nil},
		{"native apps admit no foreign azp", []string{shop}, true, false, foreign, false, ErrToken},
		{"no list", nil, false, false, noParty, false, nil},
		{"no list, any azp", nil, false, false, foreign, true, nil},
		{"impersonation is admitted", nil, false, false, actor, false, nil},
		{"impersonation is refused", nil, false, true, actor, false, ErrImpersonated},
		{"the user in person", nil, false, true, nil, false, nil},
	} {
		v := newVerifier(t, func(c *TokenConfig) {
			c.AuthorizedParties, c.BearerWithoutParty, c.RefuseImpersonation = test.parties, test.native, test.refuseAct
		})
		token := signed(t, testKeys()[0], goodHeader(), with(goodClaims(), test.claims))
		for range 2 { // from the cache too
			if _, err := v.Verify(t.Context(), token, test.fromCookie); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", test.name, err, test.want)
			}
		}
	}
}

// That a token was admitted from a header says nothing about a cookie.
func TestCachedTokenIsCheckedAgain(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, func(c *TokenConfig) { c.BearerWithoutParty = true })
	token := signed(t, testKeys()[0], goodHeader(), with(goodClaims(), object{"azp": nil}))
	if _, err := v.Verify(t.Context(), token, false); err != nil {
		t.Fatal(err)
	}
	if claims, err := v.Verify(t.Context(), token, true); !errors.Is(err, ErrToken) || claims != nil {
		t.Errorf("%+v, %v", claims, err)
	}
}

func TestStatusOfErrors(t *testing.T) {
	t.Parallel()
	for kind, status := range map[ErrorKind]int{
		ErrToken: http.StatusUnauthorized, ErrPending: http.StatusForbidden, ErrImpersonated: http.StatusForbidden,
		ErrKeysUnavailable: http.StatusServiceUnavailable, ErrUnauthorized: http.StatusServiceUnavailable,
	} {
		if got := kind.HTTPStatus(); got != status {
			t.Errorf("%s: %d, want %d", kind, got, status)
		}
	}
}

func TestTokenSettings(t *testing.T) {
	t.Parallel()
	one := publicPEM(t, testKeys()[0])
	base64Only := strings.Join(strings.Split(strings.TrimSpace(one), "\n")[1:8], "")
	for name, key := range map[string]string{
		"as it is": one, "escaped": strings.ReplaceAll(one, "\n", `\n`), "one line": strings.ReplaceAll(one, "\n", " "), "bare": base64Only,
	} {
		v := newVerifier(t, func(c *TokenConfig) { c.JWTKey, c.Issuer = key, issuer+"/" })
		if _, err := v.Verify(t.Context(), signed(t, testKeys()[0], goodHeader(), goodClaims()), true); err != nil {
			t.Errorf("key %s: %v", name, err)
		}
	}
	for name, c := range map[string]TokenConfig{
		"no issuer":        {JWTKey: one},
		"issuer no URL":    {JWTKey: one, Issuer: "clerk.example.test"},
		"key set no URL":   {JWKSURL: "/v1/jwks", Issuer: issuer},
		"a secret for all": {SecretKey: "hunter2", Issuer: issuer},
		"key no PEM":       {JWTKey: "hunter2hunter2", Issuer: issuer},
		"two keys":         {JWTKey: one + one, Issuer: issuer},
		"short key":        {JWTKey: shortKey, Issuer: issuer},
		"elliptic key":     {JWTKey: ellipticKey, Issuer: issuer},
		"party no origin":  {JWTKey: one, Issuer: issuer, AuthorizedParties: []string{"shop"}},
	} {
		if _, err := NewTokenVerifier(c); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Keys that cannot be Clerk's.
const (
	shortKey = `-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCmeuBFiRCRXvTsec59WHFHJkBO
8E4rc+gVC0IcyNlk8PSsj7NllfDipRk5rpYKbY8QuOYKaUckgZVfqlSjIHMy2h8W
JlBwfgKwcEQ0rZ1moTT6MkhVjF80gcYxH4NQFzSamZJ7zK5CRAgo4Hjhyl1lhC3z
iohp8CsQp+ftjUJvOQIDAQAB
-----END PUBLIC KEY-----`
	ellipticKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaI7N7p/31ThHBBA/EYjNQRmL5x3k
onQMEv9eMBLoJJT4jCO5ODYSWMR/HE6m5McbEmskhokmxaWRhJBp+kPfkA==
-----END PUBLIC KEY-----`
)

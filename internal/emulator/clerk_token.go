package emulator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	sessionLifetime = 60 * time.Second
	machineLifetime = 5 * time.Minute
	notBeforeSlack  = 10 * time.Second // nbf lies this much before iat

	defaultParty = "http://localhost:3000"
	defaultShape = "session_v2"
)

// The classes of tokens in the header cat (github.com/clerk/javascript,
// packages/backend/src/tokens).
const (
	catSession  = "cl_B7d4PD111AAA"
	catTemplate = "cl_B7d4PD222AAA"
	catMachine  = "cl_B7d4PD333AAA"
)

// TokenSpec describes a token. One key signs all classes of tokens an instance
// hands out, so a verifier has to tell them apart.
type TokenSpec struct {
	UserID string
	// Shape is the class: "session_v2" (the default), "session_v2_org_admin",
	// "session_v1_deprecated", "session_impersonated",
	// "session_native_app_no_azp", "session_pending", "jwt_template",
	// "oauth_access_token_jwt" or "m2m_jwt".
	Shape           string
	SessionID       string        // default a new "sess_…"
	AuthorizedParty string        // azp; default http://localhost:3000
	IssuedAt        time.Time     // default now
	Lifetime        time.Duration // default that of the class: 60 s for a session
	KeyID           string        // signs with an older key; default the newest

	// Header and Claims are put over the token's own; nil removes one.
	Header map[string]any
	Claims map[string]any
}

// MintToken signs a token. The user need not exist: a token outlives a deletion
// by up to its lifetime. It fails for an unknown shape or key.
func (c *Clerk) MintToken(spec TokenSpec) (string, error) {
	key, err := c.signingKey(spec.KeyID)
	if err != nil {
		return "", err
	}
	shape, ok := tokenShapes()[cmp.Or(spec.Shape, defaultShape)]
	if !ok {
		return "", fmt.Errorf("unknown token shape %q: use one of %s", spec.Shape, strings.Join(TokenShapes(), ", "))
	}
	t := c.sessionToken(spec, key.id)
	shape(&t)
	overlay(t.header, spec.Header)
	overlay(t.claims, spec.Claims)
	return signJWT(key.private, t.header, t.claims)
}

// TokenShapes lists the classes that TokenSpec knows.
func TokenShapes() []string { return slices.Sorted(maps.Keys(tokenShapes())) }

// token is a token being put together.
type token struct {
	header, claims map[string]any
	issued         int64 // seconds
	ownLifetime    bool  // the lifetime was asked for
	id             func(prefix string) string
}

// sessionToken is a session token of version 2, which every shape starts from.
func (c *Clerk) sessionToken(spec TokenSpec, keyID string) token {
	now := c.options.Now()
	if spec.IssuedAt.IsZero() {
		spec.IssuedAt = now
	}
	id := func(prefix string) string { return c.random.id(prefix, now) }
	issued := spec.IssuedAt.Unix()
	return token{
		header: map[string]any{"alg": "RS256", "kid": keyID, "typ": "JWT", "cat": catSession},
		claims: map[string]any{
			"azp": cmp.Or(spec.AuthorizedParty, defaultParty),
			"exp": issued + int64(cmp.Or(spec.Lifetime, sessionLifetime)/time.Second),
			"fva": []int{0, -1},
			"iat": issued,
			"iss": c.Issuer(),
			"jti": c.random.hex(10),
			"nbf": issued - int64(notBeforeSlack/time.Second),
			"sid": cmp.Or(spec.SessionID, id("sess_")),
			"sts": "active",
			"sub": spec.UserID,
			"v":   2,
		},
		issued: issued, ownLifetime: spec.Lifetime != 0, id: id,
	}
}

// tokenShapes returns how each class differs from a plain session token.
func tokenShapes() map[string]func(*token) {
	return map[string]func(*token){
		"session_v2": func(t *token) {
			t.header["oiat"] = t.issued
			overlay(t.claims, map[string]any{"pla": "u:free", "fea": "u:wishlist", "role": "authenticated"})
		},
		"session_v2_org_admin": func(t *token) {
			overlay(t.claims, map[string]any{"fva": []int{7, -1}, "pla": "o:pro", "fea": "o:dashboard,o:teams", "o": map[string]any{
				"id": t.id("org_"), "slg": "example", "rol": "admin", "per": "manage,read", "fpm": "3,2",
			}})
		},
		"session_v1_deprecated": func(t *token) {
			delete(t.header, "cat")
			t.drop("jti", "sts", "v")
		},
		"session_impersonated": func(t *token) {
			t.claims["act"] = map[string]any{"iss": "https://dashboard.clerk.com", "sid": t.id("sess_"), "sub": t.id("user_")}
			t.drop("jti", "sts")
		},
		"session_native_app_no_azp": func(t *token) { t.drop("azp", "jti", "sts") },
		"session_pending": func(t *token) {
			t.claims["sts"] = "pending"
			t.drop("jti")
		},
		"jwt_template": func(t *token) {
			t.header["cat"] = catTemplate
			t.claims["aud"] = "https://third-party.example"
			t.drop("fva", "sid", "sts", "v")
		},
		"oauth_access_token_jwt": func(t *token) {
			t.header["typ"] = "at+jwt"
			delete(t.header, "cat")
			t.leaveSession()
			overlay(t.claims, map[string]any{"client_id": t.id("client_"), "scope": "profile email", "jti": t.id("oat_")})
		},
		"m2m_jwt": func(t *token) {
			t.header["cat"] = catMachine
			t.leaveSession()
			machine := t.id("mch_")
			overlay(t.claims, map[string]any{"aud": []string{machine}, "scopes": machine, "jti": t.id("mt_"), "sub": t.id("mch_")})
		},
	}
}

// leaveSession drops what only sessions have.
func (t *token) leaveSession() {
	t.drop("azp", "fva", "sid", "sts", "v")
	if !t.ownLifetime {
		t.claims["exp"] = t.issued + int64(machineLifetime/time.Second)
	}
}

func (t *token) drop(claims ...string) {
	for _, claim := range claims {
		delete(t.claims, claim)
	}
}

// overlay puts entries over others; nil removes one.
func overlay(into, over map[string]any) {
	for key, value := range over {
		if value == nil {
			delete(into, key)
			continue
		}
		into[key] = value
	}
}

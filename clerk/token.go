package clerk

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// MaxToken bounds a token, in bytes; longer ones are refused unread. A
	// browser's cookie ends at 4 KB.
	MaxToken = 16 << 10

	// Skew is how far Clerk's clock and ours may differ, either way: the figure
	// of Clerk's own JavaScript SDK.
	Skew = 5 * time.Second

	skewSeconds = int64(Skew / time.Second)
)

// TokenConfig says which session tokens are believed.
type TokenConfig struct {
	// Issuer is the exact iss, "https://clerk.example.com"; required. A slash
	// at its end is dropped: Clerk writes none.
	Issuer string

	// AuthorizedParties are the origins whose tokens are admitted (azp), such as
	// "https://shop.example.com". Without any, azp is not compared.
	AuthorizedParties []string

	// BearerWithoutParty admits tokens without azp although AuthorizedParties
	// are set: those of native apps, which send no origin. It applies to bearer
	// tokens; a cookie always needs an azp.
	BearerWithoutParty bool

	// RefuseImpersonation refuses sessions in which somebody acts as the user;
	// otherwise Claims.Actor names who.
	RefuseImpersonation bool

	// JWTKey is the public key in PEM, as Clerk's dashboard shows it
	// (CLERK_JWT_KEY). With it, nothing is ever fetched.
	JWTKey string

	// JWKSURL is where the public keys are fetched otherwise, by default
	// Issuer + "/.well-known/jwks.json". SecretKey is sent there if it is set,
	// which the Backend API's /v1/jwks asks for.
	JWKSURL   string
	SecretKey string

	CacheSize int              // verified tokens kept; default 4096
	HTTP      *http.Client     // fetches keys; default one that follows no redirects
	Now       func() time.Time // default time.Now
}

// TokenVerifier checks Clerk's session tokens, and nothing else that Clerk
// signs: JWT-template, OAuth and machine tokens, for which the same key is
// used, are refused. It is safe for concurrent use.
type TokenVerifier struct {
	config TokenConfig
	keys   keySource
	seen   *tokenCache
	now    func() time.Time
}

// keySource finds public keys by their id. It fails with ErrToken for a key
// that does not exist and with ErrKeysUnavailable if that cannot be known.
type keySource interface {
	key(ctx context.Context, id string) (*rsa.PublicKey, error)
}

// NewTokenVerifier fails on settings that could not work; its errors repeat no
// secrets. It fetches nothing yet, see [TokenVerifier.Ready].
func NewTokenVerifier(c TokenConfig) (*TokenVerifier, error) {
	c.Issuer = strings.TrimRight(strings.TrimSpace(c.Issuer), "/")
	if !isURL(c.Issuer) {
		return nil, errors.New("issuer must be a URL such as https://clerk.example.com")
	}
	if c.JWKSURL != "" && !isURL(c.JWKSURL) || c.JWKSURL == "" && c.SecretKey != "" {
		return nil, errors.New("the key set's URL must be one such as https://api.clerk.com/v1/jwks; without it no secret key is needed")
	}
	c.AuthorizedParties = slices.Clone(c.AuthorizedParties)
	for i, party := range c.AuthorizedParties {
		c.AuthorizedParties[i] = strings.TrimRight(strings.TrimSpace(party), "/")
		if u, err := url.Parse(c.AuthorizedParties[i]); err != nil || u.Scheme == "" {
			return nil, errors.New("authorized parties must be origins such as https://shop.example.com")
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	const tokens = 4096
	v := &TokenVerifier{config: c, now: c.Now, seen: newTokenCache(cmp.Or(c.CacheSize, tokens))}
	if c.JWTKey == "" {
		v.keys = newKeyring(c)
		return v, nil
	}
	key, err := parsePublicKey(c.JWTKey)
	v.keys = oneKey{key}
	return v, err
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
}

// Verify checks a token and returns what it says. fromCookie tells that a
// browser sent it on its own accord, which asks for an azp. Errors are of the
// kinds ErrToken, ErrPending, ErrImpersonated and ErrKeysUnavailable.
//
// A token that was verified before costs a hash and a look-up, for as long as
// it is valid and its key is published.
func (v *TokenVerifier) Verify(ctx context.Context, token string, fromCookie bool) (*Claims, error) {
	switch {
	case token == "":
		return nil, tokenError("empty")
	case len(token) > MaxToken:
		return nil, tokenError("too long")
	}
	raw := []byte(token)
	hash := sha256.Sum256(raw)
	if claims, ok := v.known(ctx, hash); ok {
		return v.checked(claims, fromCookie)
	}
	parsed, err := parseJWT(token)
	if err != nil {
		return nil, err
	}
	key, err := v.keys.key(ctx, parsed.keyID)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(raw[:parsed.signed])
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], parsed.signature) != nil {
		return nil, tokenError("the signature does not match")
	}
	claims, err := parseClaims(parsed.payload)
	if err != nil {
		return nil, err
	}
	if claims, err = v.checked(claims, fromCookie); err == nil {
		v.seen.put(hash, seenToken{claims, parsed.keyID, key})
	}
	return claims, err
}

// VerifySession is Verify in words that package auth shares without importing
// this one. claims is a *Claims.
func (v *TokenVerifier) VerifySession(ctx context.Context, token string, fromCookie bool) (userID, sessionID string, claims any, err error) {
	c, err := v.Verify(ctx, token, fromCookie)
	if err != nil {
		return "", "", nil, err
	}
	return c.UserID, c.SessionID, c, nil
}

// Ready reports whether tokens can be verified, fetching the keys if they are
// not at hand: a server that asks at its start spares the first request the
// wait. It fails with ErrKeysUnavailable.
func (v *TokenVerifier) Ready(ctx context.Context) error {
	if _, err := v.keys.key(ctx, ""); errors.Is(err, ErrKeysUnavailable) {
		return err
	}
	return nil
}

// known finds a token verified before, unless it has expired or its key is no
// longer the one that signed it.
func (v *TokenVerifier) known(ctx context.Context, hash tokenHash) (*Claims, bool) {
	seen, ok := v.seen.get(hash)
	if !ok || v.now().Unix() >= seen.claims.expiresAt {
		return nil, false
	}
	key, err := v.keys.key(ctx, seen.keyID)
	return seen.claims, err == nil && key == seen.key
}

func (v *TokenVerifier) checked(c *Claims, fromCookie bool) (*Claims, error) {
	if err := v.check(c, fromCookie); err != nil {
		return nil, err
	}
	return c, nil
}

// check asks of genuine claims what depends on the time, the settings and the
// way the token came.
func (v *TokenVerifier) check(c *Claims, fromCookie bool) error {
	now := v.now().Unix()
	switch {
	case c.issuer != v.config.Issuer:
		return tokenError("another issuer")
	case c.expiresAt <= now-skewSeconds:
		return tokenError("expired")
	case c.notBefore > now+skewSeconds, c.issuedAt > now+skewSeconds:
		return tokenError("not valid yet")
	case !v.partyAdmitted(c.AuthorizedParty, fromCookie):
		return tokenError("the authorized party is missing or not admitted")
	case c.status == "pending":
		return ErrPending
	case c.status != "" && c.status != "active":
		return tokenError("the session is not active")
	case v.config.RefuseImpersonation && c.Impersonated():
		return ErrImpersonated
	}
	return nil
}

// partyAdmitted guards against a token that another origin got hold of; Clerk
// omits azp when the request for the token had no Origin.
func (v *TokenVerifier) partyAdmitted(party string, fromCookie bool) bool {
	allowed := v.config.AuthorizedParties
	if party == "" {
		return !fromCookie && (len(allowed) == 0 || v.config.BearerWithoutParty)
	}
	return len(allowed) == 0 || slices.Contains(allowed, party)
}

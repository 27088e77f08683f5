// Package compat shows that the official libraries and Lockstep understand each
// other, and where Lockstep is stricter. It is a module of its own, so that
// those libraries are nobody's dependency.
package compat

import (
	"errors"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	sdk "github.com/clerk/clerk-sdk-go/v2"
	"github.com/clerk/clerk-sdk-go/v2/jwks"
	"github.com/clerk/clerk-sdk-go/v2/jwt"
	"github.com/clerk/clerk-sdk-go/v2/user"
	"github.com/google/go-cmp/cmp"
	"github.com/lockstephq/lockstep/clerk"
	"github.com/lockstephq/lockstep/internal/emulator"
)

const ada = "user_2tSYNTHada00000000000000000"

// world is an emulated Clerk that both sides are pointed at.
type world struct {
	*emulator.Clerk
	url      string
	verifier *clerk.TokenVerifier
	client   *clerk.Client
}

func newWorld(t *testing.T) world {
	t.Helper()
	server, err := emulator.NewClerk(emulator.ClerkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(server)
	server.SetBaseURL(listener.URL)
	t.Cleanup(func() { listener.Close(); server.Close() })
	w := world{Clerk: server, url: listener.URL}
	// A list of parties, so that both sides check azp.
	w.verifier, err = clerk.NewTokenVerifier(clerk.TokenConfig{Issuer: server.Issuer(), AuthorizedParties: []string{"http://localhost:3000"}})
	if err != nil {
		t.Fatal(err)
	}
	if w.client, err = clerk.NewClient(clerk.ClientConfig{SecretKey: server.SecretKey(), BaseURL: listener.URL}); err != nil {
		t.Fatal(err)
	}
	return w
}

// sdk is the SDK's configuration, a new one for each of its clients: they write
// to it.
func (w world) sdk() *sdk.ClientConfig { return sdkConfig(w.url, w.SecretKey()) }

func sdkConfig(url, key string) *sdk.ClientConfig {
	c := &sdk.ClientConfig{}
	c.URL, c.Key = sdk.String(url+"/v1"), sdk.String(key)
	return c
}

func (w world) mint(t *testing.T, spec emulator.TokenSpec) string {
	t.Helper()
	token, err := w.MintToken(spec)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// sdkVerify asks the SDK as its documentation does. azp is compared as its
// AuthorizedPartyMatches does, and the issuer by ProxyURL, unless that is "".
func (w world) sdkVerify(t *testing.T, token, proxyURL string) (*sdk.SessionClaims, error) {
	t.Helper()
	params := &jwt.VerifyParams{
		Token: token, JWKSClient: jwks.NewClient(w.sdk()),
		AuthorizedPartyHandler: func(azp string) bool { return azp == "" || azp == "http://localhost:3000" },
	}
	if proxyURL != "" {
		params.ProxyURL = &proxyURL
	}
	return jwt.Verify(t.Context(), params)
}

// Tokens that both accept say the same to both.
func TestSDKVerifiesTheEmulatorsTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, shape := range []string{"session_v2", "session_v2_org_admin", "session_v1_deprecated", "session_impersonated"} {
		token := w.mint(t, emulator.TokenSpec{UserID: ada, Shape: shape})
		theirs, err := w.sdkVerify(t, token, w.Issuer())
		if err != nil {
			t.Errorf("%s: the SDK: %v", shape, err)
			continue
		}
		ours, err := w.verifier.Verify(t.Context(), token, true)
		if err != nil {
			t.Errorf("%s: %v", shape, err)
			continue
		}
		org := clerk.Org{
			ID: theirs.ActiveOrganizationID, Slug: theirs.ActiveOrganizationSlug,
			Role: theirs.ActiveOrganizationRole, Permissions: theirs.ActiveOrganizationPermissions,
		}
		if ours.UserID != theirs.Subject || ours.SessionID != theirs.SessionID || ours.AuthorizedParty != theirs.AuthorizedParty || !cmp.Equal(ours.Org, org) {
			t.Errorf("%s: %+v, the SDK %+v", shape, ours, theirs)
		}
		if ours.Impersonated() != (len(theirs.Actor) > 0) || ours.Impersonated() != (shape == "session_impersonated") {
			t.Errorf("%s: actor %+v, the SDK %s", shape, ours.Actor, theirs.Actor)
		}
	}
}

// Where we are stricter: the SDK believes each of these, and we refuse it.
func TestTokensTheSDKAcceptsAndWeRefuse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	shape := func(name string) emulator.TokenSpec { return emulator.TokenSpec{UserID: ada, Shape: name} }
	claim := func(name string, value any) emulator.TokenSpec {
		return emulator.TokenSpec{UserID: ada, Claims: map[string]any{name: value}}
	}
	for _, test := range []struct {
		name string
		spec emulator.TokenSpec
		want error
	}{
		{"session tasks are open", shape("session_pending"), clerk.ErrPending},
		{"JWT template", shape("jwt_template"), clerk.ErrToken},
		{"OAuth access token", shape("oauth_access_token_jwt"), clerk.ErrToken},
		{"machine token", shape("m2m_jwt"), clerk.ErrToken},
		{"no azp, though parties are listed", shape("session_native_app_no_azp"), clerk.ErrToken},
		{"never expires", claim("exp", nil), clerk.ErrToken},
		{"no subject", claim("sub", nil), clerk.ErrToken},
		{"no session", claim("sid", nil), clerk.ErrToken},
		{"no nbf", claim("nbf", nil), clerk.ErrToken},
		{"no iat", claim("iat", nil), clerk.ErrToken},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			token := w.mint(t, test.spec)
			if _, err := w.sdkVerify(t, token, w.Issuer()); err != nil {
				t.Errorf("the SDK has learned to refuse it: %v", err)
			}
			if _, err := w.verifier.Verify(t.Context(), token, false); !errors.Is(err, test.want) {
				t.Errorf("we say %v, want %v", err, test.want)
			}
		})
	}
	t.Run("another issuer with a likely name", func(t *testing.T) {
		t.Parallel()
		token := w.mint(t, claim("iss", "https://clerk.evil.example"))
		if _, err := w.sdkVerify(t, token, ""); err != nil {
			t.Errorf("the SDK has learned to refuse it: %v", err)
		}
		if _, err := w.verifier.Verify(t.Context(), token, false); !errors.Is(err, clerk.ErrToken) {
			t.Errorf("we say %v", err)
		}
	})
}

// And where we are not: a clock that is 2 s behind Clerk's.
func TestTokenTheSDKRefusesAndWeAccept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.mint(t, emulator.TokenSpec{UserID: ada, IssuedAt: time.Now().Add(3 * time.Second)})
	if _, err := w.sdkVerify(t, token, w.Issuer()); err == nil {
		t.Error("the SDK has learned to accept it")
	}
	if _, err := w.verifier.Verify(t.Context(), token, false); err != nil {
		t.Error(err)
	}
}

// The SDK pairs fpm with the wrong features when the user's own come first; we
// read it as Clerk's JavaScript SDK does.
func TestPermissionsTheSDKMisreads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.mint(t, emulator.TokenSpec{UserID: ada, Shape: "session_v2_org_admin", Claims: map[string]any{"fea": "u:wishlist,o:dashboard,o:teams"}})
	want := []string{"org:dashboard:manage", "org:dashboard:read", "org:teams:read"}
	ours, err := w.verifier.Verify(t.Context(), token, false)
	if err != nil || !slices.Equal(ours.Org.Permissions, want) {
		t.Errorf("%v, %v", ours, err)
	}
	theirs, err := w.sdkVerify(t, token, w.Issuer())
	if err != nil || slices.Equal(theirs.ActiveOrganizationPermissions, want) {
		t.Errorf("the SDK has learned it: %v, %v", theirs, err)
	}
}

// The SDK reads the emulator's users, and sees the same as our client.
func TestSDKReadsTheEmulatorsUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made, err := w.CreateUser(emulator.UserSpec{
		Username: "ada", FirstName: "Adé", LastName: "Lovelace", Email: "ada@example.test", Verified: true,
		ExtraEmails: []emulator.EmailSpec{{Address: "first@example.test"}}, Phone: "+15555550100",
	})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := user.NewClient(w.sdk()).Get(t.Context(), made.ID)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := w.client.GetUser(t.Context(), made.ID)
	if err != nil {
		t.Fatal(err)
	}
	primary := slices.IndexFunc(theirs.EmailAddresses, func(e *sdk.EmailAddress) bool { return e.ID == *theirs.PrimaryEmailAddressID })
	got := []any{theirs.ID, *theirs.Username, *theirs.FirstName, *theirs.LastName, theirs.EmailAddresses[primary].EmailAddress, theirs.UpdatedAt, theirs.Banned}
	want := []any{ours.ID, ours.Username, ours.FirstName, ours.LastName, ours.Email, ours.UpdatedAt.UnixMilli(), ours.Banned}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for range 24 {
		if _, err := w.CreateUser(emulator.UserSpec{FirstName: "Ada"}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := user.NewClient(w.sdk()).List(t.Context(), &user.ListParams{ListParams: sdk.ListParams{Limit: sdk.Int64(100)}})
	if err != nil || list.TotalCount != 25 || len(list.Users) != 25 {
		t.Errorf("%+v, %v", list, err)
	}
	if n, err := w.client.Count(t.Context()); n != 25 || err != nil {
		t.Error(n, err)
	}
	_, err = user.NewClient(w.sdk()).Get(t.Context(), "user_2tSYNTHnobody")
	answer, ok := errors.AsType[*sdk.APIErrorResponse](err)
	if !ok || answer.HTTPStatusCode != 404 {
		t.Errorf("an unknown user: %v", err)
	}
}

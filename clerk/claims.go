package clerk

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Claims is what a verified session token says (clerk.com/docs, guides,
// sessions, session-tokens). It is shared by requests: do not change it.
type Claims struct {
	UserID          string // sub, "user_…"
	SessionID       string // sid, "sess_…"
	AuthorizedParty string // azp: the origin that asked for the token; empty for native apps
	IssuedAt        time.Time
	ExpiresAt       time.Time // a minute after IssuedAt, as a rule
	Version         int       // v: 1 or 2

	// Org is the active organization. Its zero value means none.
	Org Org
	// Actor is who acts as the user; its zero value means the user does.
	Actor Actor

	issuer    string
	status    string // sts; empty in tokens of version 1
	notBefore int64  // seconds, as the next two
	issuedAt  int64
	expiresAt int64
	payload   []byte
}

// Org is an organization as a session token names it. Roles and permissions
// have the form of version 1 in both versions: "org:admin", "org:teams:read".
type Org struct {
	ID          string // "org_…"
	Slug        string
	Role        string
	Permissions []string
}

// Actor is the person behind an impersonated session (claim act).
type Actor struct {
	UserID    string `json:"sub"`
	SessionID string `json:"sid"`
	Issuer    string `json:"iss"`
}

// Impersonated reports whether someone else acts as the user.
func (c *Claims) Impersonated() bool { return c.Actor != Actor{} }

// Decode reads all claims, an instance's custom ones among them, as
// json.Unmarshal does.
func (c *Claims) Decode(into any) error { return json.Unmarshal(c.payload, into) }

// rawClaims are the claims that are read, as they are written.
type rawClaims struct {
	iss, sub, sid, azp, sts, exp, nbf, iat, v, fea, o, act []byte
	orgID, orgSlug, orgRole, orgPermissions                []byte // version 1
}

func (r *rawClaims) slot(name []byte) *[]byte {
	switch string(name) {
	case "iss":
		return &r.iss
	case "sub":
		return &r.sub
	case "sid":
		return &r.sid
	case "azp":
		return &r.azp
	case "sts":
		return &r.sts
	case "exp":
		return &r.exp
	case "nbf":
		return &r.nbf
	case "iat":
		return &r.iat
	case "v":
		return &r.v
	case "fea":
		return &r.fea
	case "o":
		return &r.o
	case "act":
		return &r.act
	case "org_id":
		return &r.orgID
	case "org_slug":
		return &r.orgSlug
	case "org_role":
		return &r.orgRole
	case "org_permissions":
		return &r.orgPermissions
	}
	return nil
}

// parseClaims reads a payload: what must be there is, and has the right type.
func parseClaims(payload []byte) (*Claims, error) {
	var raw rawClaims
	if !collect(payload, raw.slot) {
		return nil, tokenError("malformed claims")
	}
	var read reader
	c := &Claims{
		UserID: read.text(raw.sub), SessionID: read.text(raw.sid), AuthorizedParty: read.text(raw.azp),
		Version: max(1, int(read.integer(raw.v))),
		issuer:  read.text(raw.iss), status: read.text(raw.sts), payload: payload,
		notBefore: read.seconds(raw.nbf), issuedAt: read.seconds(raw.iat), expiresAt: read.seconds(raw.exp),
	}
	c.IssuedAt, c.ExpiresAt = time.Unix(c.issuedAt, 0), time.Unix(c.expiresAt, 0)
	c.Org = read.org(raw, c.Version)
	read.object(raw.act, &c.Actor)
	switch {
	case read.bad:
		return nil, tokenError("a claim is missing or has the wrong type")
	case !validUserID(c.UserID):
		return nil, tokenError("the subject is not a user")
	case c.SessionID == "":
		return nil, tokenError("no session")
	case !absent(raw.act) && c.Actor.UserID == "":
		return nil, tokenError("an actor without a subject")
	}
	return c, nil
}

// org reads the claims of one version only: to the other they may be custom.
func (r *reader) org(raw rawClaims, version int) Org {
	if version == 1 {
		o := Org{ID: r.text(raw.orgID), Slug: r.text(raw.orgSlug), Role: r.text(raw.orgRole)}
		r.object(raw.orgPermissions, &o.Permissions)
		return o
	}
	var o struct{ ID, Slg, Rol, Per, Fpm string }
	r.object(raw.o, &o)
	org := Org{ID: o.ID, Slug: o.Slg, Permissions: orgPermissions(r.text(raw.fea), o.Per, o.Fpm)}
	if o.Rol != "" {
		org.Role = "org:" + o.Rol
	}
	return org
}

// orgPermissions spells out the compact form of version 2: fpm has one number
// for each feature that has the scope o; bit i of it grants permission i of per
// (github.com/clerk/javascript, packages/shared/src/jwtPayloadParser.ts).
// clerk-sdk-go 2.7.0 counts the user's features too, and so misreads tokens in
// which these come first.
func orgPermissions(features, permissions, masks string) (granted []string) {
	if permissions == "" || masks == "" {
		return nil
	}
	mask := strings.Split(masks, ",")
	for feature := range strings.SplitSeq(features, ",") {
		scope, name, _ := strings.Cut(strings.TrimSpace(feature), ":")
		if !strings.Contains(scope, "o") {
			continue
		}
		if len(mask) == 0 {
			break
		}
		bits, _ := strconv.ParseUint(strings.TrimSpace(mask[0]), 10, 64) // what cannot be read grants nothing
		mask = mask[1:]
		for permission := range strings.SplitSeq(permissions, ",") {
			if bits&1 == 1 {
				granted = append(granted, "org:"+name+":"+strings.TrimSpace(permission))
			}
			bits >>= 1
		}
	}
	return granted
}

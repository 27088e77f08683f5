package emulator

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	maxBody         = 1 << 20
	maxMetadata     = 8 << 10 // bytes of each kind of metadata
	newestVersion   = "2026-05-12"
	metadataParams  = "public_metadata private_metadata unsafe_metadata"
	paramsElsewhere = "locale password password_digest password_hasher skip_password_checks totp_secret backup_codes " +
		"delete_self_enabled create_organization_enabled legal_accepted_at skip_legal_checks " +
		"create_organizations_limit created_at bypass_client_trust"
	createParams = "external_id first_name last_name username email_address email_address_identification_status " +
		"phone_number phone_number_identification_status web3_wallet skip_password_requirement " +
		"skip_user_requirement banned locked " + metadataParams + " " + paramsElsewhere
	updateParams = "external_id first_name last_name username primary_email_address_id " +
		"notify_primary_email_address_changed primary_phone_number_id primary_web3_wallet_id " +
		"profile_image_id sign_out_of_other_sessions " + paramsElsewhere
)

// apiHandler answers a request of the Backend API with a body or an error.
type apiHandler func(r *http.Request) (any, error)

func (c *Clerk) routes() *http.ServeMux {
	mux := http.NewServeMux()
	api := func(pattern string, serve apiHandler) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { c.serveAPI(w, r, serve) })
	}
	api("GET /v1/users", c.listUsers)
	api("POST /v1/users", c.createUser)
	api("GET /v1/users/count", c.countUsers)
	api("GET /v1/users/{user_id}", c.getUser)
	api("PATCH /v1/users/{user_id}", c.updateUser)
	api("DELETE /v1/users/{user_id}", c.deleteUser)
	api("PATCH /v1/users/{user_id}/metadata", c.writeMetadata(mergeMetadata))
	api("PUT /v1/users/{user_id}/metadata", c.writeMetadata(replaceMetadata))
	api("POST /v1/users/{user_id}/ban", c.flag(func(u *User) { u.Banned = true }))
	api("POST /v1/users/{user_id}/unban", c.flag(func(u *User) { u.Banned = false }))
	api("POST /v1/users/{user_id}/lock", c.flag(func(u *User) { setLocked(u, true) }))
	api("POST /v1/users/{user_id}/unlock", c.flag(func(u *User) { setLocked(u, false) }))
	api("GET /v1/jwks", func(*http.Request) (any, error) { return c.keySet(), nil })
	api("/v1/", func(r *http.Request) (any, error) { return nil, notFound(r.URL.Path) })
	mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, c.keySet())
	})
	c.controlRoutes(mux)
	return mux
}

func (c *Clerk) serveAPI(w http.ResponseWriter, r *http.Request, serve apiHandler) {
	body, err := c.admit(r, serve)
	if err != nil {
		writeError(w, err, c.random.hex(16))
		return
	}
	writeJSON(w, http.StatusOK, body)
}

// admit serves a request that has the key, names a version and is within the
// limits. Reading the public keys is not limited.
func (c *Clerk) admit(r *http.Request, serve apiHandler) (any, error) {
	if r.Header.Get("Authorization") != "Bearer "+c.SecretKey() {
		return nil, &ClerkError{
			Status: http.StatusUnauthorized, Code: "clerk_key_invalid",
			Message: "The provided Clerk Secret Key is invalid. Make sure that your Clerk Secret Key is correct.",
		}
	}
	if _, err := apiVersion(r); err != nil {
		return nil, err
	}
	if r.URL.Path != "/v1/jwks" {
		if err := c.limits.take(); err != nil {
			return nil, err
		}
	}
	return serve(r)
}

// apiVersion is the version of the API that a request asks for, by header or by
// query but not by both (clerk.com/docs, upgrading/versioning).
func apiVersion(r *http.Request) (string, error) {
	header, query := r.Header.Get("Clerk-Api-Version"), r.URL.Query().Get("__clerk_api_version")
	version := header + query
	if version == "" {
		return newestVersion, nil
	}
	if _, err := time.Parse(time.DateOnly, version); err != nil || version > newestVersion { // both at once are no date
		return "", &ClerkError{Status: http.StatusBadRequest, Code: "api_version_invalid", Message: "The API version is invalid"}
	}
	return version, nil
}

func (c *Clerk) listUsers(r *http.Request) (any, error) {
	q, err := parseUserQuery(r.URL.Query())
	if err != nil {
		return nil, err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.users.list(q)
}

func (c *Clerk) countUsers(r *http.Request) (any, error) {
	q, err := parseUserFilters(r.URL.Query())
	if err != nil {
		return nil, err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return struct {
		Object     string `json:"object"`
		TotalCount int    `json:"total_count"`
	}{"total_count", c.users.count(q)}, nil
}

func (c *Clerk) getUser(r *http.Request) (any, error) { return c.User(r.PathValue("user_id")) }

func (c *Clerk) deleteUser(r *http.Request) (any, error) {
	id := r.PathValue("user_id")
	if err := c.DeleteUser(id); err != nil {
		return nil, err
	}
	return deletedObject{Object: "user", ID: id, Deleted: true}, nil
}

// createBody is what the emulator reads of POST /users; it accepts the other
// parameters without effect.
type createBody struct {
	ExternalID      *string        `json:"external_id"`
	Username        *string        `json:"username"`
	FirstName       *string        `json:"first_name"`
	LastName        *string        `json:"last_name"`
	EmailAddress    []string       `json:"email_address"`
	PhoneNumber     []string       `json:"phone_number"`
	Password        *string        `json:"password"`
	Banned          *bool          `json:"banned"`
	Locked          *bool          `json:"locked"`
	CreatedAt       *time.Time     `json:"created_at"`
	PublicMetadata  map[string]any `json:"public_metadata"`
	PrivateMetadata map[string]any `json:"private_metadata"`
	UnsafeMetadata  map[string]any `json:"unsafe_metadata"`
}

func (c *Clerk) createUser(r *http.Request) (any, error) {
	var body createBody
	if err := decodeParams(r, createParams, &body); err != nil {
		return nil, err
	}
	for _, metadata := range []map[string]any{body.PublicMetadata, body.PrivateMetadata, body.UnsafeMetadata} {
		if err := checkMetadata(metadata); err != nil {
			return nil, err
		}
	}
	return c.CreateUser(body.spec())
}

// spec turns a body into a user: addresses given through the Backend API count
// as verified, and the first of each list is the primary one.
func (b createBody) spec() UserSpec {
	spec := UserSpec{
		ExternalID: orEmpty(b.ExternalID), Username: orEmpty(b.Username),
		FirstName: orEmpty(b.FirstName), LastName: orEmpty(b.LastName),
		Password: b.Password != nil, Banned: b.Banned != nil && *b.Banned, Locked: b.Locked != nil && *b.Locked,
		PublicMetadata: b.PublicMetadata, PrivateMetadata: b.PrivateMetadata, UnsafeMetadata: b.UnsafeMetadata,
	}
	if len(b.EmailAddress) > 0 {
		spec.Email, spec.Strategy = b.EmailAddress[0], "admin"
		for _, address := range b.EmailAddress[1:] {
			spec.ExtraEmails = append(spec.ExtraEmails, EmailSpec{Address: address, Strategy: "admin"})
		}
	}
	if len(b.PhoneNumber) > 0 {
		spec.Phone, spec.PhoneVerified = b.PhoneNumber[0], true
	}
	if b.CreatedAt != nil {
		spec.CreatedAt = *b.CreatedAt
	}
	return spec
}

// updateBody is what the emulator reads of PATCH /users/{id}; it accepts the
// other parameters without effect.
type updateBody struct {
	ExternalID     optional[string]         `json:"external_id"`
	Username       optional[string]         `json:"username"`
	FirstName      optional[string]         `json:"first_name"`
	LastName       optional[string]         `json:"last_name"`
	Locale         optional[string]         `json:"locale"`
	PrimaryEmailID optional[string]         `json:"primary_email_address_id"`
	PrimaryPhoneID optional[string]         `json:"primary_phone_number_id"`
	Public         optional[map[string]any] `json:"public_metadata"` // these three before 2026-05-12 only
	Private        optional[map[string]any] `json:"private_metadata"`
	Unsafe         optional[map[string]any] `json:"unsafe_metadata"`
}

// optional tells an absent member from null.
type optional[T any] struct {
	set   bool
	value *T
}

// UnmarshalJSON is called for null too, but not for an absent member.
func (o *optional[T]) UnmarshalJSON(data []byte) error {
	o.set = true
	return json.Unmarshal(data, &o.value)
}

func (o optional[T]) put(field **T) {
	if o.set {
		*field = o.value
	}
}

func (c *Clerk) updateUser(r *http.Request) (any, error) {
	id := r.PathValue("user_id")
	if err := c.limits.takeWrite(id); err != nil {
		return nil, err
	}
	params := updateParams
	if version, _ := apiVersion(r); version < newestVersion { // admit has checked it
		params += " " + metadataParams
	}
	var body updateBody
	if err := decodeParams(r, params, &body); err != nil {
		return nil, err
	}
	return c.change(id, func(u *User, _ int64) error { return body.apply(u) })
}

func (b updateBody) apply(u *User) error {
	b.ExternalID.put(&u.ExternalID)
	b.Username.put(&u.Username)
	b.FirstName.put(&u.FirstName)
	b.LastName.put(&u.LastName)
	b.Locale.put(&u.Locale)
	if id := b.PrimaryEmailID.value; id != nil && !slices.ContainsFunc(u.EmailAddresses, func(e EmailAddress) bool { return e.ID == *id && e.Verified() }) {
		return invalid(codeParamInvalid, "primary_email_address_id must be a verified address of the user")
	}
	if id := b.PrimaryPhoneID.value; id != nil && !slices.ContainsFunc(u.PhoneNumbers, func(p PhoneNumber) bool { return p.ID == *id && p.Verified() }) {
		return invalid(codeParamInvalid, "primary_phone_number_id must be a verified number of the user")
	}
	b.PrimaryEmailID.put(&u.PrimaryEmailAddressID)
	b.PrimaryPhoneID.put(&u.PrimaryPhoneNumberID)
	return metadataBody{b.Public.value, b.Private.value, b.Unsafe.value}.apply(u, replaceMetadata)
}

// metadataBody is the body of the metadata routes; nil is absent.
type metadataBody struct {
	Public  *map[string]any `json:"public_metadata"`
	Private *map[string]any `json:"private_metadata"`
	Unsafe  *map[string]any `json:"unsafe_metadata"`
}

func (c *Clerk) writeMetadata(combine func(now, change map[string]any) map[string]any) apiHandler {
	return func(r *http.Request) (any, error) {
		id := r.PathValue("user_id")
		if err := c.limits.takeWrite(id); err != nil {
			return nil, err
		}
		var body metadataBody
		if err := decodeParams(r, metadataParams, &body); err != nil {
			return nil, err
		}
		return c.change(id, func(u *User, _ int64) error { return body.apply(u, combine) })
	}
}

func (b metadataBody) apply(u *User, combine func(now, change map[string]any) map[string]any) error {
	put := func(field *map[string]any, change *map[string]any) error {
		if change == nil {
			return nil
		}
		*field = combine(*field, *change)
		return checkMetadata(*field)
	}
	return cmp.Or(put(&u.PublicMetadata, b.Public), put(&u.PrivateMetadata, b.Private), put(&u.UnsafeMetadata, b.Unsafe))
}

func replaceMetadata(_, change map[string]any) map[string]any { return maps.Clone(change) }

func checkMetadata(metadata map[string]any) error {
	text, err := json.Marshal(metadata)
	if err != nil || len(text) > maxMetadata {
		return invalid(codeParamInvalid, "metadata must not exceed 8 KB")
	}
	return nil
}

// flag is a route that changes a user and takes no body.
func (c *Clerk) flag(set func(*User)) apiHandler {
	return func(r *http.Request) (any, error) {
		return c.change(r.PathValue("user_id"), func(u *User, _ int64) error {
			set(u)
			return nil
		})
	}
}

// decodeParams reads a JSON object with no other members than those allowed.
func decodeParams(r *http.Request, allowed string, into any) error {
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		data = []byte("{}")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return &ClerkError{Status: http.StatusBadRequest, Code: "request_body_invalid", Message: "The request body is not a JSON object"}
	}
	known := strings.Fields(allowed)
	for name := range members {
		if !slices.Contains(known, name) {
			return invalid(codeParamUnknown, "%s is not a valid parameter for this request", name)
		}
	}
	if err := json.Unmarshal(data, into); err != nil {
		return invalid(codeParamInvalid, "a parameter has the wrong type")
	}
	return nil
}

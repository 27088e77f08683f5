package emulator

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

var (
	graphqlPath    = regexp.MustCompile(`^/admin/api/([^/]+)/graphql\.json$`)
	versionPattern = regexp.MustCompile(`^20\d\d-(01|04|07|10)$`)
)

const tokenPath = "/admin/oauth/access_token"

// shopCall is a request to a shop, read once: faults name it, then it is served.
type shopCall struct {
	shop    *Shop
	name    string // of the shop asked for
	path    string // below the shop
	version string // asked for, for GraphQL
	body    []byte
	request graphqlRequest
	broken  error // why the body is none
	doc     *document
}

type callKey struct{}

// graphqlRequest is the body of a GraphQL request.
type graphqlRequest struct {
	Query         string         `json:"query"`
	Variables     map[string]any `json:"variables"`
	OperationName string         `json:"operationName"`
}

func (s *Shopify) readCall(r *http.Request) *http.Request {
	c := &shopCall{}
	c.name, c.path = locateShop(r)
	c.shop = s.Shop(c.name)
	c.body, c.broken = io.ReadAll(io.LimitReader(r.Body, maxBody))
	if match := graphqlPath.FindStringSubmatch(c.path); match != nil && r.Method == http.MethodPost {
		c.version = match[1]
		decoder := json.NewDecoder(bytes.NewReader(c.body))
		decoder.UseNumber()
		c.broken = cmp.Or(c.broken, decoder.Decode(&c.request))
		c.doc = s.documents.get(c.request.Query)
	}
	return r.WithContext(context.WithValue(r.Context(), callKey{}, c))
}

// locateShop finds the shop by the path /{shop}/admin/… or else by the host.
func locateShop(r *http.Request) (name, path string) {
	if strings.HasPrefix(r.URL.Path, "/admin/") {
		host := r.Host
		if bare, _, err := net.SplitHostPort(host); err == nil {
			host = bare
		}
		return shopName(host), r.URL.Path
	}
	first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return shopName(first), "/" + rest
}

func callOf(r *http.Request) *shopCall {
	c, _ := r.Context().Value(callKey{}).(*shopCall)
	return c
}

// callRoute names a request for faults and counters: shop, kind of operation and
// its root fields, such as "acme mutation customerSet" or "acme mutation
// tagsAdd,tagsRemove"; else shop, method and path.
func callRoute(r *http.Request) string {
	c := callOf(r)
	if c.doc != nil {
		if op := c.doc.operation(c.request.OperationName); op != nil {
			return fmt.Sprintf("%s %s %s", c.name, op.Operation, strings.Join(rootFields(op.SelectionSet), ","))
		}
	}
	return fmt.Sprintf("%s %s %s", c.name, r.Method, c.path)
}

// rootFields names each root field once, in the order of the document.
func rootFields(set ast.SelectionSet) []string {
	var names []string
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			names = append(names, s.Name)
		case *ast.InlineFragment:
			names = append(names, rootFields(s.SelectionSet)...)
		case *ast.FragmentSpread:
			if s.Definition != nil {
				names = append(names, rootFields(s.Definition.SelectionSet)...)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (s *Shopify) serveCall(w http.ResponseWriter, r *http.Request) {
	c := callOf(r)
	w.Header().Set("X-Request-Id", "emulated")
	switch {
	case c.shop == nil:
		writeShopError(w, http.StatusNotFound)
	case c.path == tokenPath && r.Method == http.MethodPost:
		serveToken(w, r, c)
	case c.version != "":
		s.serveGraphQL(w, r, c)
	default:
		writeShopError(w, http.StatusNotFound)
	}
}

// serveToken answers the client credentials grant. The forms of its refusals are
// inferred.
func serveToken(w http.ResponseWriter, r *http.Request, c *shopCall) {
	values, err := tokenRequest(r, c.body)
	if err != nil || values["grant_type"] != "client_credentials" {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": "grant_type must be client_credentials"})
		return
	}
	if status := c.shop.readAccess().status; status != 0 {
		writeShopError(w, status)
		return
	}
	token, err := c.shop.Mint(values["client_id"], values["client_secret"])
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "application_cannot_be_found", "error_description": err.Error()})
		return
	}
	scopes := strings.Join(c.shop.readAccess().scopes, ",")
	writeJSON(w, http.StatusOK, map[string]any{"access_token": token, "scope": scopes, "expires_in": grantSeconds})
}

// tokenRequest reads a form or a JSON object.
func tokenRequest(r *http.Request, body []byte) (map[string]string, error) {
	values := map[string]string{}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return values, json.Unmarshal(body, &values)
	}
	form := r.Clone(r.Context())
	form.Body = io.NopCloser(bytes.NewReader(body))
	if err := form.ParseForm(); err != nil {
		return nil, err
	}
	for name := range form.PostForm {
		values[name] = form.PostForm.Get(name)
	}
	return values, nil
}

func (s *Shopify) serveGraphQL(w http.ResponseWriter, r *http.Request, c *shopCall) {
	version, served := s.servedVersion(c.version)
	if !served {
		writeShopError(w, http.StatusNotFound)
		return
	}
	w.Header().Set("X-Shopify-API-Version", version)
	if status := c.shop.refusal(r.Header.Get("X-Shopify-Access-Token")); status != 0 {
		writeShopError(w, status)
		return
	}
	if c.broken != nil || c.request.Query == "" {
		writeJSON(w, http.StatusBadRequest, map[string]any{"errors": map[string]string{"query": "Required parameter missing or invalid"}})
		return
	}
	if c.doc.deprecated {
		w.Header().Set("X-Shopify-API-Deprecated-Reason", "https://shopify.dev/api/usage/versioning#deprecation-practices")
	}
	c.shop.mu.Lock()
	answer := c.shop.execute(c.doc, c.request)
	c.shop.mu.Unlock()
	writeJSON(w, http.StatusOK, answer)
}

// servedVersion lets a version that has ended fall forward to the oldest one.
func (s *Shopify) servedVersion(asked string) (string, bool) {
	versions := s.options.Versions
	if slices.Contains(versions, asked) {
		return asked, true
	}
	if versionPattern.MatchString(asked) && asked < versions[0] {
		return versions[0], true
	}
	return "", false
}

// refusal is the status with which the shop turns a request away, or zero.
func (s *Shop) refusal(token string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.access.status != 0 {
		return s.access.status
	}
	if !s.admits(token) {
		return http.StatusUnauthorized
	}
	return 0
}

// shopErrorText is the text of a refusal by its status; that of 401 is documented,
// the others are inferred.
func shopErrorText(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "[API] Invalid API key or access token (unrecognized login or wrong password)"
	case http.StatusPaymentRequired, http.StatusLocked:
		return "Unavailable Shop"
	}
	return cmp.Or(http.StatusText(status), "Error")
}

func writeShopError(w http.ResponseWriter, status int) {
	writeJSON(w, status, map[string]string{"errors": shopErrorText(status)})
}

// writeShopFault answers a request refused by fault injection. A fault with a
// code becomes a GraphQL error under status 200.
func writeShopFault(w http.ResponseWriter, fault Fault) {
	if fault.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(retryAfterSeconds(fault.RetryAfter), 10))
	}
	if fault.Code == "" {
		writeShopError(w, fault.Status)
		return
	}
	err := codedError(fault.Code, "Refused by the emulator's fault injection")
	writeJSON(w, http.StatusOK, map[string]any{"errors": []*gqlError{err}})
}

// with copies an error with more extensions.
func (e *gqlError) with(extensions map[string]any) *gqlError {
	copied := *e
	copied.Extensions = maps.Clone(e.Extensions)
	maps.Copy(copied.Extensions, extensions)
	return &copied
}

package emulator

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// medusaServer is a Medusa, emulated or real, under the contract's questions.
type medusaServer struct {
	t                    *testing.T
	url                  string
	key, email, password string
	mail                 string            // the domain of all e-mails here
	ids                  map[string]string // by the name that the contract gives them
}

// TestMedusaContract holds the emulator to what was seen on Medusa 2.21.2.
func TestMedusaContract(t *testing.T) {
	t.Parallel()
	m := NewMedusa(MedusaOptions{})
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	askMedusa(medusaServer{t: t, url: server.URL, key: m.access.key, email: m.access.email, password: m.access.password})
}

// TestMedusaContractOnRealMedusa asks a real Medusa the same, as `make test-medusa`
// starts one.
func TestMedusaContractOnRealMedusa(t *testing.T) {
	address := os.Getenv("LOCKSTEP_MEDUSA_URL")
	if address == "" {
		if os.Getenv("LOCKSTEP_MEDUSA") == "required" {
			t.Fatal("LOCKSTEP_MEDUSA_URL is not set")
		}
		t.Skip("LOCKSTEP_MEDUSA_URL is not set: make test-medusa starts a Medusa and sets it")
	}
	conn, err := pgx.Connect(t.Context(), os.Getenv("LOCKSTEP_MEDUSA_DATABASE_URL"))
	must(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	wipe := func() {
		_, err := conn.Exec(context.WithoutCancel(t.Context()), `delete from `+pgx.Identifier{os.Getenv("LOCKSTEP_MEDUSA_SCHEMA"), "customer"}.Sanitize()+
			` where lower(email) like '%@contract.example' or last_name = 'Contract'`)
		must(t, err)
	}
	wipe()
	defer wipe()
	askMedusa(medusaServer{t: t, url: address, key: os.Getenv("LOCKSTEP_MEDUSA_KEY"), email: os.Getenv("LOCKSTEP_MEDUSA_EMAIL"),
		password: os.Getenv("LOCKSTEP_MEDUSA_PASSWORD")})
}

func askMedusa(s medusaServer) {
	s.ids, s.mail = map[string]string{}, "contract.example"
	s.waysIn()
	for _, group := range [][]exchange{creations(), lists(), updates(), deletions(), misuses()} {
		for _, e := range group {
			s.ask(e)
		}
	}
	s.emptyUpdate()
}

// waysIn asks with every form of the header that people try.
func (s medusaServer) waysIn() {
	s.t.Helper()
	enc := base64.StdEncoding.EncodeToString
	login := s.logIn(s.password, http.StatusOK)
	s.logIn(s.password+"x", http.StatusUnauthorized)
	s.logIn("", http.StatusUnauthorized)
	for header, status := range map[string]int{
		"Basic " + enc([]byte(s.key+":")):   200,
		"Basic " + enc([]byte(s.key)):       200,
		"basic " + s.key:                    200,
		"Basic " + s.key + ":":              200,
		"Basic " + enc([]byte(s.key+":x")):  401,
		"Basic " + enc([]byte("sk_nobody")): 401,
		"Bearer " + s.key:                   401,
		"Bearer " + login:                   200,
		"Bearer " + login + "x":             401,
		"Bearer nothing":                    401,
		"":                                  401,
	} {
		res, body := s.send(http.MethodGet, "/admin/customers?limit=1", header, "", "")
		if res.StatusCode != status {
			s.t.Errorf("authorization %.12q…: %d %s, want %d", header, res.StatusCode, body, status)
		}
		if hint := strings.Contains(body, "HTTP Basic"); hint != strings.HasPrefix(header, "Bearer sk_") {
			s.t.Errorf("authorization %.12q…: answered %s", header, body)
		}
	}
	for header, status := range map[string]int{"Bearer " + login: 200, "Bearer nothing": 401} {
		if res, body := s.send(http.MethodPost, "/auth/token/refresh", header, "", ""); res.StatusCode != status || status == 200 && !strings.Contains(body, `"token"`) {
			s.t.Errorf("refresh: %d %s, want %d", res.StatusCode, body, status)
		}
	}
}

func (s medusaServer) logIn(password string, status int) (token string) {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"email": s.email, "password": password})
	must(s.t, err)
	res, text := s.send(http.MethodPost, "/auth/user/emailpass", "", jsonType, string(body))
	if res.StatusCode != status {
		s.t.Errorf("login: %d %s, want %d", res.StatusCode, text, status)
	}
	var answer struct {
		Token, Type string
	}
	must(s.t, json.Unmarshal([]byte(text), &answer))
	if (answer.Token != "") != (status == 200) || status == 401 && answer.Type != "unauthorized" {
		s.t.Errorf("login: %d with %s", status, text)
	}
	return answer.Token
}

const jsonType = "application/json"

func (s medusaServer) send(method, path, authorization, contentType, body string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	must(s.t, err)
	for name, value := range map[string]string{"Authorization": authorization, "Content-Type": contentType} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	res, err := http.DefaultClient.Do(req)
	must(s.t, err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	must(s.t, err)
	return res, string(text)
}

// exchange is a request and what is answered. {name} stands for the id of a
// customer that an exchange has made, and @@ for the contract's own domain.
type exchange struct {
	method, path, body string
	status             int
	want               string // a part of the answer, or of what decode makes of it
	makes              string // the name of the customer that is made
}

func (s medusaServer) expand(text string) string {
	for name, id := range s.ids {
		text = strings.ReplaceAll(text, "{"+name+"}", id)
	}
	return strings.ReplaceAll(text, "@@", "@"+s.mail)
}

func (s medusaServer) ask(e exchange) {
	s.t.Helper()
	path, query, _ := strings.Cut(s.expand(e.path), "?")
	if query != "" {
		values := url.Values{}
		for pair := range strings.SplitSeq(query, "&") {
			name, value, _ := strings.Cut(pair, "=")
			values.Add(name, value)
		}
		path += "?" + values.Encode()
	}
	kind := jsonType
	if e.method == http.MethodGet {
		kind = ""
	}
	res, body := s.send(e.method, path, "Basic "+s.key, kind, s.expand(e.body))
	if got := s.brief(body); res.StatusCode != e.status || !strings.Contains(got, s.expand(e.want)) {
		s.t.Errorf("%s %s %.80s: %d %.300s, want %d %s", e.method, e.path, e.body, res.StatusCode, got, e.status, s.expand(e.want))
	}
	if res.StatusCode != 404 && res.Header.Get("Keep-Alive") != "timeout=5" {
		s.t.Errorf("%s %s: Keep-Alive is %q", e.method, e.path, res.Header.Get("Keep-Alive"))
	}
	var made struct {
		Customer struct{ ID string }
	}
	if e.makes != "" {
		must(s.t, json.Unmarshal([]byte(body), &made))
		s.ids[e.makes] = made.Customer.ID
	}
}

// brief sorts the keys of an answer, so that both servers write alike.
func (s medusaServer) brief(body string) string {
	var value any
	if json.Unmarshal([]byte(body), &value) != nil {
		return body
	}
	text, err := json.Marshal(value)
	must(s.t, err)
	return string(text)
}

const customers = "/admin/customers"

func creations() []exchange {
	return []exchange{
		{"POST", customers, `{"email":"Ada@@","first_name":"Ada","last_name":"Contract","metadata":{"a":"","b":{"c":1}}}`, 200, `"metadata":{"a":"","b":{"c":1}},"phone":null`, "ada"},
		{"POST", customers, `{"email":"ada@@","last_name":"Contract","phone":"any text"}`, 200, `"has_account":false`, "lower"},
		{"POST", customers, `{"last_name":"Contract","metadata":null}`, 200, `"email":null`, "bare"},
		{"POST", customers, `{"email":null,"last_name":"Contract"}`, 200, `"email":null`, "bare2"},
		{"POST", customers, `{"email":"Ada@@"}`, 400, `{"message":"Customer with email: Ada@@, has_account: false, already exists.","type":"invalid_data"}`, ""},
		{"POST", customers, `{"email":"nobody"}`, 400, `{"message":"Invalid request: Invalid email address","type":"invalid_data"}`, ""},
		{"POST", customers, `{"email":""}`, 400, `Invalid email address`, ""},
		{"POST", customers, `{"email":" b@@"}`, 400, `Invalid email address`, ""},
		{"POST", customers, `{"email":"b@localhost"}`, 400, `Invalid email address`, ""},
		{"POST", customers, `{"email":"b..c@@"}`, 400, `Invalid email address`, ""},
		{"POST", customers, `{"email":"b@exämple.test"}`, 400, `Invalid email address`, ""},
		{"POST", customers, `{"has_account":true}`, 400, `{"message":"Invalid request: Unrecognized fields: 'has_account'","type":"invalid_data"}`, ""},
		{"POST", customers, `{"metadata":"text"}`, 400, `Expected type: 'record' for field 'metadata'`, ""},
		{"POST", customers, `{"metadata":["list"]}`, 400, `Expected type: 'record' for field 'metadata'`, ""},
		{"POST", customers, `{"first_name":5}`, 400, `Invalid request: Expected type: 'string' for field 'first_name', got: '5'`, ""},
		{"POST", customers, `{"last_name":"Contract","first_name":"a\ud800b"}`, 200, "\"first_name\":\"a\ufffdb\"", "surrogate"},
	}
}

func lists() []exchange {
	const mine = "&$or[0][id][]={ada}&$or[0][id][]={lower}&$or[0][id][]={bare}"
	return []exchange{
		{"GET", customers + "?email=ada@@&fields=id,email", "", 200, `{"count":1,"customers":[{"email":"ada@@","id":"{lower}"}],"limit":50,"offset":0}`, ""},
		{"GET", customers + "?email[]=ada@@&email[]=Ada@@&fields=id&order=id", "", 200, `"customers":[{"id":"{ada}"},{"id":"{lower}"}]`, ""},
		{"GET", customers + "?email=ADA@@", "", 200, `"customers":[]`, ""},
		{"GET", customers + "?email=", "", 200, `"customers":[]`, ""},
		{"GET", customers + "?q=DA@CONTRACT&fields=id&order=id", "", 200, `"customers":[{"id":"{ada}"},{"id":"{lower}"}]`, ""},
		{"GET", customers + "?fields=id&order=-email" + mine, "", 200, `"customers":[{"id":"{bare}"}`, ""}, // null comes first
		{"GET", customers + "?fields=id&order=id&id[$gt]={ada}&limit=1" + mine, "", 200, `{"count":2,"customers":[{"id":"{lower}"}],"limit":1,"offset":0}`, ""},
		{"GET", customers + "?fields=id&order=id&offset=1&limit=1" + mine, "", 200, `{"count":3,"customers":[{"id":"{lower}"}],"limit":1,"offset":1}`, ""},
		{"GET", customers + "?fields=id&order=id&$or[0][email]=Ada@@&$or[1][id]={bare}", "", 200, `"customers":[{"id":"{ada}"},{"id":"{bare}"}]`, ""},
		{"GET", customers + "?fields=id&order=id&$or[0][updated_at][$gte]=2999-01-01T00:00:00Z&$or[1][id]={bare}", "", 200, `"customers":[{"id":"{bare}"}]`, ""},
		{"GET", customers + "?fields=id&order=id&id[]={ada}&updated_at[$gte]=2020-01-01T00:00:00.123456789Z", "", 200, `"customers":[{"id":"{ada}"}]`, ""},
		{"GET", customers + "?fields=id&id[]={ada}&has_account=true", "", 200, `"customers":[]`, ""},
		{"GET", customers + "?fields=id,nothing,metadata.b&id={ada}", "", 200, `"customers":[{"id":"{ada}"}]`, ""},
		{"GET", customers + "?id={ada}&$or[0][nothing]=x&fields=id", "", 200, `"customers":[{"id":"{ada}"}]`, ""}, // it finds everybody
		{"GET", customers + "?id[$foo]={ada}", "", 200, `"customers":[]`, ""},
		{"GET", customers + "?limit=0", "", 200, `"customers":[]`, ""},
		{"GET", customers + "?nothing=1", "", 400, `{"message":"Invalid request: Unrecognized fields: 'nothing'","type":"invalid_data"}`, ""},
		{"GET", customers + "?metadata[b]=1", "", 400, `Unrecognized fields: 'metadata'`, ""},
		{"GET", customers + "?phone=1", "", 400, `Unrecognized fields: 'phone'`, ""},
		{"GET", customers + "?email[$eq]=x", "", 400, `Invalid request: Expected type: 'string, array' for field 'email'`, ""},
		{"GET", customers + "?has_account=maybe", "", 400, `Invalid request`, ""},
		{"GET", customers + "?limit=many", "", 400, `Expected type: 'number' for field 'limit', got: 'many'`, ""},
		{"GET", customers + "?limit=-1", "", 500, poison, ""},
		{"GET", customers + "?order=nothing", "", 500, poison, ""},
		{"GET", customers + "?updated_at[$gte]=never", "", 500, poison, ""},
		{"GET", customers + "?email=\x00", "", 500, poison, ""},
		{"GET", customers + "/{ada}", "", 200, `"company_name":null`, ""},
		{"GET", customers + "/cus_nobody", "", 404, `{"message":"Customer with id: cus_nobody not found","type":"not_found"}`, ""},
	}
}

const poison = `{"code":"unknown_error","message":"An unknown error occurred.","type":"unknown_error"}`

func updates() []exchange {
	ada := customers + "/{ada}"
	return []exchange{
		{"POST", ada, `{"metadata":{"clerk_user_id":"user_1"}}`, 200, `"metadata":{"a":"","b":{"c":1},"clerk_user_id":"user_1"}`, ""},
		{"POST", ada, `{"metadata":{"b":{"d":2},"a":null}}`, 200, `"metadata":{"a":null,"b":{"d":2},"clerk_user_id":"user_1"}`, ""},
		{"POST", ada, `{"metadata":{"clerk_user_id":""}}`, 200, `"metadata":{"a":null,"b":{"d":2}}`, ""},
		{"POST", ada, `{"metadata":null}`, 200, `"metadata":null`, ""},
		{"POST", ada, `{"first_name":"","phone":"1"}`, 200, `"first_name":"","has_account":false`, ""},
		{"POST", ada, `{"email":"ada@@"}`, 400, `{"message":"Customer with email: ada@@, has_account: false, already exists.","type":"invalid_data"}`, ""},
		{"POST", ada, `{"email":"ada.c@@"}`, 200, `"email":"ada.c@@"`, ""},
		{"POST", ada, `{"has_account":true,"id":"x"}`, 400, `Unrecognized fields: 'has_account, id'`, ""},
		{"POST", ada, `{"first_name":"a\u0000b"}`, 500, poison, ""},
		{"POST", ada, `{"metadata":{"x":"a\u0000b"}}`, 500, poison, ""},
		{"POST", customers + "/cus_nobody", `{"first_name":"x"}`, 404, `{"message":"Customer with id \"cus_nobody\" not found","type":"not_found"}`, ""},
	}
}

func deletions() []exchange {
	ada := customers + "/{ada}"
	deleted := `{"deleted":true,"id":"{ada}","object":"customer"}`
	return []exchange{
		{"DELETE", ada, "", 200, deleted, ""},
		{"DELETE", ada, "", 200, deleted, ""},
		{"DELETE", customers + "/cus_nobody", "", 200, `"deleted":true`, ""},
		{"GET", ada, "", 404, `not_found`, ""},
		{"POST", ada, `{"first_name":"x"}`, 404, `not_found`, ""},
		{"GET", customers + "?id={ada}&with_deleted=true", "", 200, `"customers":[]`, ""},
		{"POST", customers, `{"email":"ada.c@@","last_name":"Contract"}`, 200, `"email":"ada.c@@"`, "again"},
	}
}

func misuses() []exchange {
	return []exchange{
		{"PATCH", customers + "/{lower}", `{}`, 404, "Cannot PATCH", ""},
		{"GET", "/nothing", "", 404, "Cannot GET", ""},
		{"POST", customers, `{bad`, 400, `"type":"invalid_data"`, ""},
		{"POST", customers, `[]`, 400, `Invalid request: Field '' is required`, ""},
		{"POST", customers, `{"first_name":"` + strings.Repeat("a", 110_000) + `"}`, 413, `{"message":"request entity too large","type":"unknown_error"}`, ""},
		{"POST", customers, `{"last_name":"Contract","first_name":"` + strings.Repeat("a", 90_000) + `"}`, 200, `"customer"`, "large"},
		{"GET", "/health", "", 200, "OK", ""},
	}
}

// emptyUpdate: an update that changes nothing leaves updated_at, and the Date of
// an answer is of the same clock.
func (s medusaServer) emptyUpdate() {
	s.t.Helper()
	var times []string
	for _, body := range []string{`{}`, `{}`, `{"first_name":"B"}`, `{"first_name":"B"}`} {
		res, text := s.send(http.MethodPost, customers+"/"+s.ids["lower"], "Basic "+s.key, jsonType, body)
		var answer struct {
			Customer struct {
				UpdatedAt time.Time `json:"updated_at"`
			} `json:"customer"`
		}
		must(s.t, json.Unmarshal([]byte(text), &answer))
		at, err := http.ParseTime(res.Header.Get("Date"))
		must(s.t, err)
		if at.Sub(answer.Customer.UpdatedAt).Abs() > time.Hour {
			s.t.Errorf("updated at %v, answered at %v", answer.Customer.UpdatedAt, at)
		}
		times = append(times, answer.Customer.UpdatedAt.String())
	}
	changes := map[string]bool{times[0]: true, times[2]: true}
	if times[0] != times[1] || times[2] != times[3] || len(changes) != 2 {
		s.t.Errorf("updated at %v", slices.Sorted(maps.Keys(changes)))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

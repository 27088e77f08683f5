package emulator

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

func newTestMedusa(t *testing.T, o MedusaOptions) (*Medusa, medusaServer) {
	t.Helper()
	m := NewMedusa(o)
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	m.SetBaseURL(server.URL)
	return m, medusaServer{t: t, url: server.URL, key: m.access.key, email: m.access.email, password: m.access.password}
}

// want sends with the secret key and checks status and text of the answer.
func (s medusaServer) want(method, path, body string, status int, text string) string {
	s.t.Helper()
	res, got := s.send(method, path, "Basic "+s.key, jsonType, body)
	if res.StatusCode != status || !strings.Contains(got, text) {
		s.t.Errorf("%s %s: %d %s, want %d %s", method, path, res.StatusCode, got, status, text)
	}
	return got
}

// TestMedusaAccounts: one guest and one account may hold an e-mail; an account
// that nobody can sign in to cannot be deleted.
func TestMedusaAccounts(t *testing.T) {
	t.Parallel()
	m, s := newTestMedusa(t, MedusaOptions{})
	bare, err := m.PutCustomer(MedusaSpec{Email: "a@x.test", HasAccount: true})
	must(t, err)
	proper, err := m.PutCustomer(MedusaSpec{Email: "b@x.test", HasAccount: true, Identity: true})
	must(t, err)
	if _, err := m.PutCustomer(MedusaSpec{Email: "a@x.test", HasAccount: true}); err == nil {
		t.Error("two accounts hold one e-mail")
	}
	s.want("POST", customers, `{"email":"a@x.test"}`, 200, `"has_account":false`)
	s.want("GET", customers+"?email=a@x.test&has_account=true&fields=id", "", 200, bare.ID)
	s.want("DELETE", customers+"/"+bare.ID, "", 404, "Auth identity not found")
	s.want("DELETE", customers+"/"+proper.ID, "", 200, `"deleted":true`)
	s.want("GET", customers+"/"+bare.ID, "", 200, bare.ID)
	s.want("GET", customers+"/"+proper.ID, "", 404, "not_found")
}

// TestMedusaEvents: an update of nothing, and the deletion of nobody, send theirs.
func TestMedusaEvents(t *testing.T) {
	t.Parallel()
	m, s := newTestMedusa(t, MedusaOptions{})
	var made struct{ Customer MedusaCustomer }
	must(t, json.Unmarshal([]byte(s.want("POST", customers, `{"email":"a@x.test"}`, 200, "cus_")), &made))
	id := made.Customer.ID
	if !regexp.MustCompile(`^cus_[0-9A-HJKMNP-TV-Z]{26}$`).MatchString(id) {
		t.Errorf("the id is %s", id)
	}
	s.want("POST", customers, `{"email":"a@x.test"}`, 400, "already exists")
	s.want("POST", customers+"/"+id, `{}`, 200, id)
	s.want("DELETE", customers+"/cus_nobody", "", 200, "")
	if got, want := fmt.Sprint(m.Events()), fmt.Sprintf("[{customer.created %s} {customer.updated %s} {customer.deleted cus_nobody}]", id, id); got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
}

// TestMedusaHangs: a request that nobody waits for any more is carried out.
func TestMedusaHangs(t *testing.T) {
	t.Parallel()
	m, s := newTestMedusa(t, MedusaOptions{})
	must(t, m.Faults.Script("POST /admin/customers", Fault{Delay: time.Hour}))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+customers, strings.NewReader(`{"email":"a@x.test"}`))
	must(t, err)
	req.SetBasicAuth(s.key, "")
	req.Header.Set("Content-Type", jsonType)
	if res, err := http.DefaultClient.Do(req); err == nil {
		_ = res.Body.Close()
		t.Fatal("it was answered")
	}
	waiting, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for tick := time.Tick(time.Millisecond); len(m.Customers()) == 0; <-tick {
		if waiting.Err() != nil {
			t.Fatal("it was never carried out")
		}
	}
}

// TestMedusaLoginEnds with its time, and with its signing key.
func TestMedusaLoginEnds(t *testing.T) {
	t.Parallel()
	now := time.Now()
	m, s := newTestMedusa(t, MedusaOptions{TokenLife: time.Hour, Now: func() time.Time { return now }})
	login := "Bearer " + s.logIn(s.password, 200)
	for _, step := range []struct {
		what   string
		do     func()
		status int
	}{
		{"at first", func() {}, 200},
		{"near its end", func() { now = now.Add(59 * time.Minute) }, 200},
		{"after its end", func() { now = now.Add(time.Minute) }, 401},
		{"a new one", func() { login = "Bearer " + s.logIn(s.password, 200) }, 200},
		{"under another key", m.EndLogins, 401},
	} {
		step.do()
		if res, body := s.send(http.MethodGet, customers, login, "", ""); res.StatusCode != step.status {
			t.Errorf("%s: %d %s, want %d", step.what, res.StatusCode, body, step.status)
		}
	}
}

// TestMedusaControl is the story of docs/EMULATORS.md.
func TestMedusaControl(t *testing.T) {
	t.Parallel()
	m, s := newTestMedusa(t, MedusaOptions{})
	const control = "/_control/medusa/"
	s.want("GET", control+"settings", "", 200, `"MEDUSA_API_URL":"`+s.url+`"`)
	var c MedusaCustomer
	must(t, json.Unmarshal([]byte(s.want("POST", control+"customers", `{"email":"Ada@x.test","company_name":"Owls","metadata":{"vip":true}}`, 200, "cus_")), &c))
	s.want("POST", control+"customers", `{"email":"Ada@x.test"}`, 400, "already exists")
	s.want("POST", control+"customers", `{"mail":"Ada@x.test"}`, 400, "unknown field")
	s.want("GET", control+"customers", "", 200, `"Owls"`)
	s.want("PATCH", control+"customers/"+c.ID, `{"email":"","has_account":true}`, 200, `"email":null`)
	s.want("GET", control+"customers/"+c.ID, "", 200, `"has_account":true`)
	s.want("DELETE", control+"customers/"+c.ID, "", 200, `"ok":true`)
	s.want("DELETE", control+"customers/"+c.ID, "", 404, "no customer")
	s.want("GET", control+"events", "", 200, `"customer.customer.created"`)
	s.want("PUT", control+"faults", `{"rules":[{"route":"POST /admin/customers","script":[{"action":"drop_after"},{"action":"refuse","status":429,"retry_after_s":2}]}]}`, 200, "drop_after")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+customers, strings.NewReader(`{}`))
	must(t, err)
	req.SetBasicAuth(s.key, "")
	if res, err := http.DefaultClient.Do(req); err == nil {
		_ = res.Body.Close()
		t.Error("the answer was not dropped")
	}
	if n := len(m.Customers()); n != 1 {
		t.Errorf("%d customers, want the one whose answer was dropped", n)
	}
	res, _ := s.send(http.MethodPost, customers, "Basic "+s.key, jsonType, `{}`)
	if res.StatusCode != 429 || res.Header.Get("Retry-After") != "2" {
		t.Errorf("limit: %d, %v", res.StatusCode, res.Header)
	}
	s.want("GET", control+"requests", "", 200, `{"route":"POST /admin/customers","outcome":"drop_after 200","n":1}`)
	s.want("PATCH", control+"access", `{"secret_key":"sk_new","admin_password":"new","end_logins":true}`, 200, "ok")
	s.want("GET", customers, "", 401, "Unauthorized")
	s.logIn(s.password, 401)
	s.logIn("new", 200)
}

package medusa_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/medusa"
)

func fakeMedusa(t *testing.T, serve http.HandlerFunc) (address string) {
	t.Helper()
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	return server.URL
}

// person is an invented user's customer.
func person(n int) lockstep.Customer {
	return lockstep.Customer{UserID: fmt.Sprintf("user_%d", n), Email: fmt.Sprintf("vilhelmina%d@example.test", n), FirstName: "Vilhelmina"}
}

// TestStatuses: what each answer to a read, and to a write, comes to. No text of
// Medusa's is repeated.
func TestStatuses(t *testing.T) {
	t.Parallel()
	const (
		invalid   = `{"type":"invalid_data","message":"Invalid request: vilhelmina"}`
		duplicate = `{"type":"invalid_data","message":"Customer with email: vilhelmina1@example.test, has_account: false, already exists."}`
	)
	for _, tt := range []struct {
		status      int
		body        string
		read, write lockstep.ErrorKind
	}{
		{400, invalid, lockstep.ErrInvalid, lockstep.ErrInvalid},
		{400, duplicate, lockstep.ErrTaken, lockstep.ErrTaken},
		{400, `{"type":"invalid_data","message":"Invalid request: already exists."}`, lockstep.ErrInvalid, lockstep.ErrInvalid},
		{422, `{"type":"duplicate_error","message":"vilhelmina"}`, lockstep.ErrTaken, lockstep.ErrTaken},
		{400, `vilhelmina`, lockstep.ErrRefused, lockstep.ErrRefused},
		{401, `{"message":"Unauthorized"}`, lockstep.ErrRefused, lockstep.ErrRefused},
		{403, `{"type":"forbidden","message":"vilhelmina"}`, lockstep.ErrRefused, lockstep.ErrRefused},
		{404, `{"type":"not_found","message":"vilhelmina"}`, lockstep.ErrGone, lockstep.ErrGone},
		{404, `<pre>Cannot GET</pre>`, lockstep.ErrRefused, lockstep.ErrRefused},
		{301, ``, lockstep.ErrRefused, lockstep.ErrRefused},
		{409, `{"type":"conflict","message":"vilhelmina"}`, lockstep.ErrTransient, lockstep.ErrUnknown},
		{413, `{"type":"unknown_error","message":"request entity too large"}`, lockstep.ErrInvalid, lockstep.ErrInvalid},
		{413, `<pre>of a proxy</pre>`, lockstep.ErrInvalid, lockstep.ErrInvalid},
		{429, ``, lockstep.ErrThrottled, lockstep.ErrThrottled},
		{500, `{"type":"unknown_error"}`, lockstep.ErrTransient, lockstep.ErrUnknown},
		{502, `<pre>vilhelmina</pre>`, lockstep.ErrTransient, lockstep.ErrUnknown},
		{200, `vilhelmina`, lockstep.ErrTransient, lockstep.ErrUnknown},
		{200, `{}`, lockstep.ErrTransient, lockstep.ErrUnknown},
	} {
		reads, writes := errorsUnder(t, tt.status, tt.body)
		for _, got := range []struct {
			err  error
			want lockstep.ErrorKind
		}{{reads, tt.read}, {writes, tt.write}} {
			if lockstep.KindOf(got.err) != got.want || got.err == nil {
				t.Errorf("%d %s: %v, want %s", tt.status, tt.body, got.err, got.want)
			} else if strings.Contains(strings.ToLower(got.err.Error()), "vilhelmina") {
				t.Errorf("an error names a person: %v", got.err)
			}
		}
	}
}

// errorsUnder are those of a read, and of a write after reads that work.
func errorsUnder(t *testing.T, status int, body string) (reads, writes error) {
	t.Helper()
	answer := func(w http.ResponseWriter, method string) bool {
		if method != http.MethodGet {
			return false
		}
		_, _ = w.Write([]byte(`{"customers":[]}`))
		return true
	}
	address := fakeMedusa(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/writing") && answer(w, r.Method) {
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
	o := medusa.APIOptions{Key: "sk_x"}
	reads = newAPI(t, address, o).Check(t.Context())
	_, writes = newAPI(t, address+"/writing", o).Create(t.Context(), person(1))
	return reads, writes
}

// TestRedirectIsNotFollowed: the key would go along.
func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := fakeMedusa(t, func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") })
	address := fakeMedusa(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
	})
	for _, o := range []medusa.APIOptions{{Key: "sk_x"}, {AdminEmail: "a", AdminPassword: "b"}} {
		if err := newAPI(t, address, o).Check(t.Context()); lockstep.KindOf(err) != lockstep.ErrRefused || !strings.Contains(err.Error(), "MEDUSA_API_URL") {
			t.Errorf("got %v", err)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(nil)
	server.Close()
	_, err := newAPI(t, server.URL, medusa.APIOptions{Key: "sk_x"}).Create(t.Context(), person(1))
	if lockstep.KindOf(err) != lockstep.ErrTransient || strings.Contains(err.Error(), "/admin/") {
		t.Errorf("got %v", err)
	}
}

// TestAnswerWithoutEnd: an answer is bounded.
func TestAnswerWithoutEnd(t *testing.T) {
	t.Parallel()
	address := fakeMedusa(t, func(w http.ResponseWriter, _ *http.Request) {
		for chunk := []byte(strings.Repeat(" ", 1<<20)); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	if err := newAPI(t, address, medusa.APIOptions{Key: "sk_x"}).Check(t.Context()); lockstep.KindOf(err) != lockstep.ErrTransient || !strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v", err)
	}
}

// TestHang: as with its database away Medusa answers nothing. A read is temporary,
// a write unknown, and it may well be done.
func TestHang(t *testing.T) {
	t.Parallel()
	w := openAPI(t)
	o := byKey(w.Medusa)
	o.Timeout = 50 * time.Millisecond
	target := w.target(t, o)
	must(t, target.Check(t.Context()))
	must(t, w.Faults.Script("", emulator.Fault{Delay: time.Hour}))
	if err := target.Check(t.Context()); lockstep.KindOf(err) != lockstep.ErrTransient {
		t.Errorf("read: %v", err)
	}
	must(t, w.Faults.Script("POST /admin/customers", emulator.Fault{Delay: time.Hour}))
	if _, err := target.Create(t.Context(), person(1)); lockstep.KindOf(err) != lockstep.ErrUnknown {
		t.Errorf("write: %v", err)
	}
	for len(w.Customers()) == 0 && t.Context().Err() == nil {
		found, err := target.Resolve(t.Context(), lockstep.Query{UserID: "user_1"})
		if err == nil && len(found.ByUser) == 1 {
			break
		}
	}
	if n := len(w.Customers()); n != 1 {
		t.Errorf("%d customers, want the one that was made late", n)
	}
}

// TestPoisonIsNotSent: Medusa answers a NUL with 500, and broken UTF-8 it would
// change.
func TestPoisonIsNotSent(t *testing.T) {
	t.Parallel()
	w := openAPI(t)
	target := w.target(t, byKey(w.Medusa))
	for _, poison := range []string{"a\x00b", "a\xffb"} {
		want := person(1)
		want.FirstName = poison
		_, created := target.Create(t.Context(), want)
		_, adopted := target.Adopt(t.Context(), lockstep.Customer{ID: "cus_1"}, want)
		_, updated := target.Update(t.Context(), lockstep.Customer{ID: "cus_1"}, want)
		_, resolved := target.Resolve(t.Context(), lockstep.Query{CustomerID: poison})
		_, released := target.Release(t.Context(), lockstep.Customer{ID: poison, UserID: "user_1"}, lockstep.OnDeleteKeep)
		for i, err := range []error{created, adopted, updated, resolved, released} {
			if lockstep.KindOf(err) != lockstep.ErrInvalid {
				t.Errorf("%d: %q: %v", i, poison, err)
			}
		}
	}
	if counts := w.Faults.Counts(); len(counts) != 0 {
		t.Errorf("sent %+v", counts)
	}
}

package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/lockstephq/lockstep/internal/web"
)

// front is a running handler whose only webhook ends as the test says.
type front struct {
	*httptest.Server
	t   *testing.T
	log *logBuffer
}

func newFront(t *testing.T, receive web.Receive, ready error) *front {
	t.Helper()
	log := &logBuffer{}
	f := web.Front{
		Webhooks: map[string]web.Receive{"clerk": receive},
		Ready:    func(context.Context) (web.Health, error) { return web.Health{Status: "ready", Database: "ok"}, ready },
		Log:      watch.Logger(t, log),
	}
	server := httptest.NewUnstartedServer(f.Handler())
	server.Config.ErrorLog = slog.NewLogLogger(f.Log.Handler(), slog.LevelWarn)
	server.Start()
	t.Cleanup(server.Close)
	return &front{server, t, log}
}

// logBuffer takes what several requests log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

type response struct {
	status int
	header http.Header
	body   string
}

func (f *front) do(method, path string, body io.Reader) response {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.URL+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.send(req)
}

func (f *front) send(req *http.Request) response {
	f.t.Helper()
	resp, err := f.Client().Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return response{resp.StatusCode, resp.Header, string(text)}
}

func (f *front) post(body io.Reader) response {
	f.t.Helper()
	return f.do(http.MethodPost, "/webhooks/clerk", body)
}

// answers makes a Receive that ends in one way.
func answers(receipt lockstep.Receipt, err error) web.Receive {
	return func(context.Context, http.Header, []byte) (lockstep.Receipt, error) { return receipt, err }
}

// wantError checks the status and that the body is an error of the contract's
// shape, with nothing beside it.
func wantError(t *testing.T, got response, status int, code string) {
	t.Helper()
	var body map[string]map[string]string
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		t.Fatalf("status %d, body %q: %v", got.status, got.body, err)
	}
	message := body["error"]["message"]
	want := map[string]map[string]string{"error": {"code": code, "message": message}}
	if diff := cmp.Diff(want, body); diff != "" || message == "" {
		t.Errorf("body %s (-want +got):\n%s", got.body, diff)
	}
	if got.status != status {
		t.Errorf("status %d, want %d", got.status, status)
	}
	if ct := got.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type %q", ct)
	}
}

func TestReceiptsAreAcknowledged(t *testing.T) {
	t.Parallel()
	for _, receipt := range []lockstep.Receipt{lockstep.ReceiptApplied, lockstep.ReceiptDuplicate, lockstep.ReceiptIgnored, lockstep.ReceiptStale} {
		t.Run(string(receipt), func(t *testing.T) {
			t.Parallel()
			got := newFront(t, answers(receipt, nil), nil).post(strings.NewReader("{}"))
			if want := fmt.Sprintf("{\"status\":%q}\n", receipt); got.status != http.StatusOK || got.body != want {
				t.Errorf("%d %q, want 200 %q", got.status, got.body, want)
			}
			if ct := got.header.Get("Content-Type"); ct != "application/json" {
				t.Errorf("content type %q", ct)
			}
		})
	}
}

func TestReceiveGetsHeadersAndRawBytes(t *testing.T) {
	t.Parallel()
	const raw = "{ \"a\" : 1 }\r\n\xff\x00"
	var header, body string
	f := newFront(t, func(_ context.Context, h http.Header, b []byte) (lockstep.Receipt, error) {
		header, body = h.Get("Svix-Id"), string(b)
		return lockstep.ReceiptApplied, nil
	}, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL+"/webhooks/clerk", strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Svix-Id", "msg_1")
	resp, err := f.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if header != "msg_1" || body != raw {
		t.Errorf("received %q with id %q", body, header)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		status int
		code   string
		header map[string]string
	}{
		"bad signature": {fmt.Errorf("%w: why", web.ErrBadSignature), 401, "UNAUTHORIZED", map[string]string{"WWW-Authenticate": "Signature"}},
		"malformed":     {fmt.Errorf("%w: why", web.ErrMalformed), 400, "BAD_REQUEST", nil},
		"store down":    {errors.New("why"), 503, "UPSTREAM_UNAVAILABLE", map[string]string{"Retry-After": "5"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, answers("", c.err), nil)
			got := f.post(strings.NewReader("{}"))
			wantError(t, got, c.status, c.code)
			for _, name := range []string{"WWW-Authenticate", "Retry-After"} {
				if got.header.Get(name) != c.header[name] {
					t.Errorf("%s is %q, want %q", name, got.header.Get(name), c.header[name])
				}
			}
			if log := f.log.String(); !strings.Contains(log, "why") || !strings.Contains(log, "source=clerk") {
				t.Errorf("the log does not say why: %s", log)
			}
		})
	}
}

// What the store says when it is away is for the log: the sender gets no part
// of it.
func TestUnavailableTellsTheSenderNothing(t *testing.T) {
	t.Parallel()
	got := newFront(t, answers("", errors.New("role postgres at 10.0.0.7")), nil).post(strings.NewReader("{}"))
	if strings.Contains(got.body, "10.0.0.7") {
		t.Errorf("answered %s", got.body)
	}
}

// unsized hides a reader's length, so that the request is sent in chunks.
type unsized struct{ io.Reader }

func TestBodyOverTheLimit(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"with Content-Length":    func(r io.Reader) io.Reader { return r },
		"without Content-Length": func(r io.Reader) io.Reader { return unsized{r} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var received []int
			f := newFront(t, func(_ context.Context, _ http.Header, b []byte) (lockstep.Receipt, error) {
				received = append(received, len(b))
				return lockstep.ReceiptApplied, nil
			}, nil)
			body := bytes.Repeat([]byte{'x'}, web.MaxBody+1)
			if got := f.post(wrap(bytes.NewReader(body[:web.MaxBody]))); got.status != http.StatusOK {
				t.Errorf("a body of the limit: %d", got.status)
			}
			wantError(t, f.post(wrap(bytes.NewReader(body))), http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE")
			if diff := cmp.Diff([]int{web.MaxBody}, received); diff != "" {
				t.Errorf("received (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnknownRoutes(t *testing.T) {
	t.Parallel()
	f := newFront(t, answers(lockstep.ReceiptApplied, nil), nil)
	for _, path := range []string{"/", "/webhooks", "/webhooks/clerk/", "/webhooks/unknown", "/healthz/x", "/%00"} {
		wantError(t, f.do(http.MethodPost, path, nil), http.StatusNotFound, "NOT_FOUND")
	}
}

func TestOtherMethods(t *testing.T) {
	t.Parallel()
	f := newFront(t, answers(lockstep.ReceiptApplied, nil), nil)
	for path, allowed := range map[string]string{"/webhooks/clerk": "POST", "/healthz": "GET", "/readyz": "GET"} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FROB"} {
			if method == allowed {
				continue
			}
			got := f.do(method, path, nil)
			wantError(t, got, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED")
			if got.header.Get("Allow") != allowed {
				t.Errorf("%s %s allows %q, want %q", method, path, got.header.Get("Allow"), allowed)
			}
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	f := newFront(t, nil, errors.New("the database is away"))
	if got := f.do(http.MethodGet, "/healthz", nil); got.status != http.StatusOK || got.body != "{\"status\":\"ok\"}\n" {
		t.Errorf("alive, but not ready: %+v", got)
	}
	if got := f.do(http.MethodHead, "/healthz", nil); got.status != http.StatusOK || got.body != "" {
		t.Errorf("HEAD: %+v", got)
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	got := newFront(t, nil, nil).do(http.MethodGet, "/readyz", nil)
	if got.status != http.StatusOK || got.body != `{"status":"ready","database":"ok","worker":null,"oldest_pending_seconds":null,"paused":null,"alarms":null}`+"\n" {
		t.Errorf("%+v", got)
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	got := newFront(t, nil, errors.New("run `lockstep migrate up`")).do(http.MethodGet, "/readyz", nil)
	wantError(t, got, http.StatusServiceUnavailable, "UPSTREAM_UNAVAILABLE")
	if got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "lockstep migrate up") {
		t.Errorf("%+v", got)
	}
}

// A panic ends neither the process nor, as net/http by itself would have it,
// the connection; and its value stays out of the log.
func TestPanicIsAnsweredAndNotQuoted(t *testing.T) {
	t.Parallel()
	calls := 0
	f := newFront(t, func(context.Context, http.Header, []byte) (lockstep.Receipt, error) {
		if calls++; calls == 1 {
			panic("ada@example.test")
		}
		return lockstep.ReceiptApplied, nil
	}, nil)
	got := f.post(strings.NewReader("{}"))
	wantError(t, got, http.StatusInternalServerError, "INTERNAL_SERVER_ERROR")
	log := f.log.String()
	if strings.Contains(log+got.body, "ada@") {
		t.Errorf("the panic is quoted: %s%s", got.body, log)
	}
	for _, want := range []string{"level=ERROR", `route="POST /webhooks/clerk"`, "type=string", "web_test.go"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s: %s", want, log)
		}
	}
	if got := f.post(strings.NewReader("{}")); got.status != http.StatusOK {
		t.Errorf("the next request: %d", got.status)
	}
}

// A handler may ask net/http for a broken connection; that is no failure.
func TestAbortBreaksTheConnection(t *testing.T) {
	t.Parallel()
	f := newFront(t, func(context.Context, http.Header, []byte) (lockstep.Receipt, error) { panic(http.ErrAbortHandler) }, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.URL+"/webhooks/clerk", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := f.Client().Do(req); err == nil {
		_ = resp.Body.Close()
		t.Errorf("answered %d", resp.StatusCode)
	}
	if log := f.log.String(); log != "" {
		t.Errorf("logged %s", log)
	}
}

// The sender hung up while sending: nothing is received.
func TestBodyCutOff(t *testing.T) {
	t.Parallel()
	f := web.Front{Webhooks: map[string]web.Receive{"clerk": func(context.Context, http.Header, []byte) (lockstep.Receipt, error) {
		t.Error("half a body was received")
		return lockstep.ReceiptApplied, nil
	}}, Log: watch.Logger(t)}
	w := httptest.NewRecorder()
	body := io.MultiReader(strings.NewReader(`{"type":`), brokenReader{})
	f.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webhooks/clerk", body))
	wantError(t, response{w.Code, w.Header(), w.Body.String()}, http.StatusBadRequest, "BAD_REQUEST")
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

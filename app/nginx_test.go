package app_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep/internal/emulator"
)

// TestNginxOfTheDocs runs Debian's nginx with the configuration of
// docs/PROXY.md in front of an application that trusts its headers.
func TestNginxOfTheDocs(t *testing.T) {
	t.Parallel()
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		if nginx, err = exec.LookPath("/usr/sbin/nginx"); err != nil && os.Getenv("CI") == "true" {
			t.Fatal("nginx is not installed: type `make test`, which installs it, or apt-get install nginx")
		} else if err != nil {
			t.Skip("nginx is not installed: apt-get install nginx")
		}
	}
	w := signIn(t)
	shop := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			http.Error(rw, "the application's own error", http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(rw, "user "+r.Header.Get("X-User-Id")+" profile "+r.Header.Get("X-Profile-Id"))
	}))
	t.Cleanup(shop.Close)
	front := startNginx(t, nginx, w.addr, strings.TrimPrefix(shop.URL, "http://"))
	w.waitFor("nginx listens", func(ctx context.Context) bool {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", front)
		return err == nil && conn.Close() == nil
	})
	id := w.newUser(ada())
	token := w.token(emulator.TokenSpec{UserID: id})
	w.url = "http://" + front
	if resp, body := w.call("GET", "/orders", token, "X-User-Id", "user_forged"); resp.StatusCode != 200 || body != "user "+id+" profile "+id {
		t.Errorf("signed in: %d %q", resp.StatusCode, body)
	}
	if resp, _ := w.call("GET", "/orders", "", "X-User-Id", "user_forged"); resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("anonymous: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, _ := w.call("GET", "/orders", w.token(emulator.TokenSpec{UserID: id, Shape: "session_pending"})); resp.StatusCode != 403 {
		t.Errorf("pending: %d", resp.StatusCode)
	}
	if resp, body := w.call("GET", "/broken", token); resp.StatusCode != 500 || !strings.Contains(body, "own error") {
		t.Errorf("the application's error: %d %q", resp.StatusCode, body)
	}
	must(t, w.clerk.Faults.Set(emulator.Rule{Rate: 1, Fault: emulator.Fault{Action: emulator.ActionRefuse, Status: 500}}))
	stranger := w.newUser(emulator.UserSpec{FirstName: "Eve"})
	if resp, _ := w.call("GET", "/orders", w.token(emulator.TokenSpec{UserID: stranger})); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("Clerk is away: %d %v", resp.StatusCode, resp.Header)
	}
}

// startNginx runs the documented configuration with other addresses.
func startNginx(t *testing.T, nginx, lockstep, shop string) (front string) {
	t.Helper()
	page, err := os.ReadFile("../docs/PROXY.md")
	must(t, err)
	block := regexp.MustCompile("(?s)```nginx\n(.*?)```").FindSubmatch(page)
	if block == nil {
		t.Fatal("docs/PROXY.md has no nginx configuration")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	front = l.Addr().String()
	must(t, l.Close())
	site := strings.NewReplacer("127.0.0.1:8080", lockstep, "127.0.0.1:3000", shop, "127.0.0.1:8000", front).Replace(string(block[1]))
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	must(t, os.WriteFile(config, []byte(`
daemon off; worker_processes 1; pid nginx.pid; error_log stderr;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;
	`+site+"}\n"), 0o600))
	cmd := exec.Command(nginx, "-p", dir, "-c", config, "-e", "stderr")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, cmd.Process.Signal(os.Interrupt))
		_ = cmd.Wait() // nginx ends itself with the signal it got
	})
	return front
}

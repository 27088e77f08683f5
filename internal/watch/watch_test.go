package watch

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestLeak(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"user ada@example.test is taken", "Ada.B+c@Example.Test", "from=<x@y.zz>", "phone +4520123456", `"+15555550100"`,
		"postgres://lockstep:hunter2@db/x", "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "key sk_test_0123456789ab", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"token shpat_0123456789abcdef", "sk_0123456789abcdef0123456789abcdef", "email=CANARY", `name="Ada"`, "Lovelace", "für Adé.",
	} {
		if Leak("a line\nbefore "+text+"\nand one after") == "" {
			t.Errorf("%q passes", text)
		}
	}
	for _, text := range []string{
		`time=2026-11-26T15:00:00.123+01:00 level=INFO msg="target paused" target=shopify:acme.myshopify.com`,
		"user_ada is linked to cus_ada at m=+12.345678901", "postgres://lockstep@db:5432/x", "set CLERK_WEBHOOK_SECRET to whsec_…",
		"SHOPIFY_ACCESS_TOKEN (shpat_…)", "run lockstep@v1", "such as postgres://user:password@host:5432/database", "an e-mail is someone else's", "Everybody, Adam and Evelyn", "2026-11-26 15:00:00+00",
	} {
		if leak := Leak(text); leak != "" {
			t.Errorf("%q is taken for %s", text, leak)
		}
	}
}

// failing notes what a test would have failed for.
type failing struct {
	testing.TB
	errors []string
}

func (f *failing) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func TestLoggerFailsTheTest(t *testing.T) {
	t.Parallel()
	f := &failing{TB: t}
	var text strings.Builder
	log := Logger(f, &text)
	log.Info("harmless", "user", "user_1")
	if len(f.errors) != 0 || !strings.Contains(text.String(), "harmless") {
		t.Errorf("%q, and logged: %s", f.errors, text.String())
	}
	log.Debug("linked", "customer", "ada@example.test")
	log.With("phone", "+4520123456").WithGroup("g").Warn("refused")
	if len(f.errors) != 2 {
		t.Errorf("%q", f.errors)
	}
	Text(f, "metrics", `lockstep_users{name="Ada"} 1`)
	if len(f.errors) != 3 {
		t.Errorf("%q", f.errors)
	}
}

// A line that comes in pieces is searched as a whole, and noted for the test.
func TestToFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "leaks")
	f := &failing{TB: t}
	var out strings.Builder
	w := ToFile(name, &out)
	fmt.Fprint(w, "user ada@exa")
	Noted(f, name)
	fmt.Fprint(w, "mple.test\nand more")
	Noted(f, name)
	if len(f.errors) != 1 || out.String() != "user ada@example.test\nand more" {
		t.Errorf("%q, passed on: %q", f.errors, out.String())
	}
}

// Package watch is how tests see that Lockstep tells nobody anything personal and
// no secret: every logger of a test is made here, and what it writes is searched as
// it is written. Metrics, spans, error texts and what the database keeps of the
// work are searched by Text.
//
// What is looked for is the form of things, an address, a number, a token, and the
// names that the tests' people have; law_test.go holds the tests to both.
package watch

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// names are those of the people in our tests, and values that stand for one.
const names = `Ada|Adé|ADA|Byron|Lovelace|Augusta|Eve|Grace|Hopper|Vilhelmina|Kvistgaard|Uma|John|Doe|Renamed|Edited|Changed|Nobody`

// form is one thing to look for. The hint is in every text that can hold it: it
// spares the expression, which is slow under the race detector.
type form struct {
	what string
	hint string
	expr *regexp.Regexp
}

var forms = sync.OnceValue(func() []form {
	return []form{
		{"an e-mail address", "@", regexp.MustCompile(`(?i)[a-z0-9._%+-]+@[a-z0-9-]+(\.[a-z0-9-]+)+`)},
		{"a phone number", "+", regexp.MustCompile(`\+[1-9][0-9]{7,14}\b`)},
		{"a password in a URL", "://", regexp.MustCompile(`://[^/\s:@"]+:[^/\s@"]+@`)},
		{"a token of a session", "eyJ", regexp.MustCompile(`\beyJ[\w-]{16,}`)},
		{"a secret of Clerk's or Shopify's", "_", regexp.MustCompile(`\b(sk_live|sk_test|whsec|shpat|shpss|shpca)_[\w+/-]{8,}`)},
		{"a secret of Shopify's or Medusa's", "_", regexp.MustCompile(`\bsk_[0-9a-f]{16,}`)},
		{"a canary", "", regexp.MustCompile(`(?i)canary`)},
		{"a name", "", regexp.MustCompile(`(^|[^\pL\d_])(` + names + `)($|[^\pL\d_])`)},
	}
})

// Leak says what in a text nobody may read, with what is around it; empty if there
// is nothing.
func Leak(text string) string {
	text = strings.ReplaceAll(text, "postgres://user:password@host", "") // what we advise
	for _, f := range forms() {
		if !strings.Contains(text, f.hint) {
			continue
		}
		if at := f.expr.FindStringIndex(text); at != nil {
			return fmt.Sprintf("%s: …%s…", f.what, text[max(0, at[0]-200):min(len(text), at[1]+60)])
		}
	}
	return ""
}

// Text fails the test if what the product emitted holds anything personal, or a
// secret. The first argument says what the text is.
func Text(t testing.TB, what, text string) {
	t.Helper()
	if leak := Leak(text); leak != "" {
		t.Errorf("%s: %s", what, leak)
	}
}

// Logger searches all that is logged, from the level debug on, and fails the test
// at once. Lines go to to as well; without it, those that are more than debugging
// go to the test's output.
func Logger(t testing.TB, to ...io.Writer) *slog.Logger {
	var ended sync.Once
	over := make(chan struct{})
	t.Cleanup(func() { ended.Do(func() { close(over) }) })
	w := Writer(io.MultiWriter(to...), func(leak string) { t.Errorf("a line of the log: %s", leak) })
	if len(to) == 0 {
		w.to = writerFunc(func(line []byte) (int, error) {
			select {
			case <-over: // a test that ended takes no output
			default:
				if !bytes.Contains(line, []byte("level=DEBUG")) {
					return t.Output().Write(line)
				}
			}
			return len(line), nil
		})
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Lines is a writer that searches line by line.
type Lines struct {
	mu    sync.Mutex
	to    io.Writer
	found func(leak string)
	rest  []byte // of a line that has no end yet
}

// Writer passes all on, and tells found what must not be there.
func Writer(to io.Writer, found func(leak string)) *Lines { return &Lines{to: to, found: found} }

// Write implements io.Writer.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	if end := bytes.LastIndexByte(l.rest, '\n'); end >= 0 {
		if leak := Leak(string(l.rest[:end])); leak != "" {
			l.found(leak)
		}
		l.rest = append(l.rest[:0], l.rest[end+1:]...)
	}
	return l.to.Write(p)
}

// ToFile passes all on and notes in a file what must not be there: for a process
// that is no test itself, but was started by one, which then asks Noted.
func ToFile(name string, to io.Writer) io.Writer {
	return Writer(to, func(leak string) {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = fmt.Fprintln(f, leak)
		}
		if err != nil {
			panic(fmt.Sprintf("watch: %v, about %s", err, leak))
		}
		_ = f.Close() // what matters is written
	})
}

// Noted fails the test if a process noted anything in the file.
func Noted(t testing.TB, name string) {
	t.Helper()
	if text, err := os.ReadFile(name); err == nil {
		t.Errorf("a process under test wrote %s", text)
	} else if !os.IsNotExist(err) {
		t.Error(err)
	}
}

package localpg

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlace(t *testing.T) {
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		tmp    string
		anyone bool
		want   string
	}{
		"as told":                      {tmp: closed, want: closed + "/x"},
		"closed to the server":         {tmp: closed, anyone: true, want: "/tmp/x"},
		"too long for a socket's path": {tmp: "/" + strings.Repeat("t", 100), want: "/tmp/x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", test.tmp)
			got, err := place("x", test.anyone)
			if err != nil || got != test.want {
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
		})
	}
}

func TestEnvironmentKeepsOursOut(t *testing.T) {
	t.Parallel()
	got := environment([]string{"PATH=/bin", "PGPORT=1", "PGDATA=/x", "LC_MESSAGES=de_DE", "HOME=/root"})
	if diff := cmp.Diff([]string{"LC_ALL=C", "PATH=/bin", "HOME=/root"}, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

package localpg

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// oldest is the oldest major version supported.
const oldest = 15

// MissingError says that no usable PostgreSQL is installed.
type MissingError struct {
	TooOld []string // directories with a PostgreSQL that is too old
}

// Error tells what to install.
func (e *MissingError) Error() string {
	text := fmt.Sprintf("no PostgreSQL %d or newer found (initdb and postgres): install it (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql@17), or set DATABASE_URL to a server of your own", oldest)
	if len(e.TooOld) > 0 {
		text += "; too old: " + strings.Join(e.TooOld, ", ")
	}
	return text
}

// FindBinaries returns the directory that holds initdb and postgres: the first
// one in PATH, else the newest in the places where packages put them. The
// error is a *MissingError.
func FindBinaries() (string, error) {
	return findIn(append(filepath.SplitList(os.Getenv("PATH")), installed()...))
}

// installed are the directories packages use, newest version first.
func installed() []string {
	var dirs []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
		"/usr/pgsql-*/bin",          // Fedora, RHEL
		"/opt/homebrew/opt/postgresql*/bin",
		"/usr/local/opt/postgresql*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	} {
		found, _ := filepath.Glob(pattern) // fails on a malformed pattern only
		dirs = append(dirs, found...)
	}
	return newestFirst(dirs)
}

// newestFirst sorts by the version in the path as a number: 9 is below 15. A
// path without one goes last.
func newestFirst(dirs []string) []string {
	slices.SortStableFunc(dirs, func(a, b string) int {
		return cmp.Compare(lastNumber(b), lastNumber(a))
	})
	return dirs
}

func lastNumber(text string) int {
	numbers := regexp.MustCompile(`\d+`).FindAllString(text, -1)
	if len(numbers) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(numbers[len(numbers)-1]) // digits; at worst too many
	return n
}

// findIn returns the first directory with both programs and a version that
// will do.
func findIn(dirs []string) (string, error) {
	missing := &MissingError{}
	for _, dir := range dirs {
		dir, err := filepath.Abs(dir)
		if err != nil || !hasPrograms(dir) {
			continue
		}
		if major(dir) >= oldest {
			return dir, nil
		}
		missing.TooOld = append(missing.TooOld, dir)
	}
	return "", missing
}

func hasPrograms(dir string) bool {
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := exec.LookPath(filepath.Join(dir, program)); err != nil {
			return false
		}
	}
	return true
}

// major is the major version of the server in dir, or 0 if it does not say.
func major(dir string) int {
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	match := regexp.MustCompile(`\(PostgreSQL\) (\d+)`).FindSubmatch(out)
	if err != nil || match == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(match[1]))
	return n
}

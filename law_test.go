package lockstep_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/lockstephq/lockstep/internal/watch"
)

const module = "github.com/lockstephq/lockstep"

// law says which of our packages each package may import; the root is "". It is
// docs/ARCHITECTURE.md's picture of the house. Imports run with the event,
// never back, and never sideways between connectors.
var law = map[string][]string{
	"":                        {},
	"clerk":                   {""},
	"medusa":                  {""},
	"shopify":                 {""},
	"auth":                    {""},
	"targettest":              {""},
	"examples/nethttp":        {"", "auth", "clerk"},
	"internal/engine":         {""},
	"internal/postgres":       {""},
	"internal/web":            {"", "docs"},
	"internal/observe":        {"", "internal/postgres"},
	"docs":                    {},
	"internal/inbox":          {"", "internal/engine", "internal/postgres"},
	"internal/emulator":       {},
	"internal/localpg":        {},
	"internal/localpg/pgtest": {"internal/localpg"},
	"internal/localpg/find":   {"internal/localpg"},
	"internal/standin":        {},
	"internal/realmedusa":     {"internal/localpg", "internal/standin"},
	"internal/testdb":         {"internal/localpg/pgtest", "internal/postgres", "internal/standin", "internal/watch"},
	"internal/watch":          {},
	"app":                     {"", "auth", "clerk", "medusa", "shopify", "internal/engine", "internal/postgres", "internal/inbox", "internal/observe", "internal/web"},
	"cmd/lockstep":            {"", "app"},
}

// lawOfFiles are the files that may import more: the demo plays the user's
// world, which the product must not know.
var lawOfFiles = map[string][]string{
	"cmd/lockstep/demo":    {"internal/emulator", "internal/localpg", "internal/standin", "targettest"},
	"cmd/lockstep/emulate": {"internal/emulator"},
}

// onlyHome names the dependencies that have one home.
var onlyHome = map[string][]string{
	"github.com/riverqueue/river":    {"internal/inbox", "internal/postgres", "internal/observe"}, // postgres runs its migrations, observe traces it
	"github.com/pressly/goose":       {"internal/postgres"},
	"github.com/spf13/cobra":         {"cmd/lockstep"},
	"github.com/goccy/go-yaml":       {"app"},
	"github.com/schollz/progressbar": {"cmd/lockstep"},
	"github.com/robfig/cron":         {"app"},
	"github.com/prometheus":          {"internal/observe"},
	"go.opentelemetry.io":            {"internal/observe"},
}

// goFile is a parsed file of the product; tests are free.
type goFile struct {
	dir, name string
	ast       *ast.File
	fset      *token.FileSet
	lines     int
}

func product(t *testing.T) []goFile {
	t.Helper()
	return parsed(t, func(name string) bool { return !strings.HasSuffix(name, "_test.go") })
}

func parsed(t *testing.T, wanted func(name string) bool) (files []goFile) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return fs.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(name, ".go") || !wanted(filepath.ToSlash(name)) {
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f := goFile{fset: token.NewFileSet(), lines: strings.Count(string(data), "\n")}
		f.dir, f.name = path.Dir(filepath.ToSlash(name)), path.Base(name)
		if f.dir == "." {
			f.dir = ""
		}
		f.ast, err = parser.ParseFile(f.fset, name, data, parser.ParseComments)
		files = append(files, f)
		return err
	})
	if err != nil || len(files) < 20 {
		t.Fatalf("parsed %d files: %v", len(files), err)
	}
	return files
}

func (f goFile) path() string { return path.Join(f.dir, f.name) }

func (f goFile) imports() (ours, theirs []string) {
	for _, spec := range f.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		if rest, ok := strings.CutPrefix(p, module); ok {
			ours = append(ours, strings.TrimPrefix(rest, "/"))
		} else {
			theirs = append(theirs, p)
		}
	}
	return ours, theirs
}

func TestImportLaw(t *testing.T) {
	t.Parallel()
	for _, f := range product(t) {
		allowed, ok := law[f.dir]
		if !ok {
			t.Errorf("%s: package %q is not in the law: add it here and to docs/ARCHITECTURE.md", f.path(), f.dir)
			continue
		}
		for prefix, more := range lawOfFiles {
			if strings.HasPrefix(f.path(), prefix) {
				allowed = append(slices.Clone(allowed), more...)
			}
		}
		ours, theirs := f.imports()
		for _, p := range ours {
			if !slices.Contains(allowed, p) {
				t.Errorf("%s imports %q", f.path(), p)
			}
		}
		for _, p := range theirs {
			for dep, homes := range onlyHome {
				if strings.HasPrefix(p, dep) && !slices.Contains(homes, f.dir) {
					t.Errorf("%s imports %s, whose only home is %v", f.path(), p, homes)
				}
			}
		}
		if f.dir == "" && len(theirs) > 0 && slices.ContainsFunc(theirs, func(p string) bool { return strings.Contains(p, ".") }) {
			t.Errorf("%s: the root imports the standard library only", f.path())
		}
	}
}

// unwatched are the tests whose loggers are their own affair: of processes whose
// whole output is searched afterwards, and of handlers that are themselves tested.
var unwatched = []string{"internal/watch/", "internal/bench/", "internal/compat/", "internal/inbox/crash_test.go", "app/settings_test.go"}

// noNames are values that tests give for a name, and that log lines may well hold.
var noNames = []string{"Account", "Bare", "Before", "Example", "Guest", "Last", "Live", "Merge", "New", "One", "Real", "Two", "A\x00da", "A\uFFFDB"}

// Whatever the product logs in a test is searched for personal data and secrets,
// and the people of our tests are such that the search finds them.
func TestAllThatIsLoggedIsWatched(t *testing.T) {
	t.Parallel()
	for _, f := range parsed(t, func(name string) bool {
		return strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "targettest/")
	}) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				handlers := []string{"DiscardHandler", "NewTextHandler", "NewJSONHandler", "Default"}
				pkg, _ := n.X.(*ast.Ident)
				free := slices.ContainsFunc(unwatched, func(prefix string) bool { return strings.HasPrefix(f.path(), prefix) })
				if pkg != nil && pkg.Name == "slog" && slices.Contains(handlers, n.Sel.Name) && !free {
					t.Errorf("%s: slog.%s: make the logger by watch.Logger", f.fset.Position(n.Pos()), n.Sel.Name)
				}
			case *ast.KeyValueExpr:
				if name := personalName(n); len(name) > 2 && !slices.Contains(noNames, name) && watch.Leak(name) == "" {
					t.Errorf("%s: nobody would see %q in a log: add it to internal/watch, or take another name", f.fset.Position(n.Pos()), name)
				}
			}
			return true
		})
	}
}

// personalName is the name that a literal gives a person, or empty.
func personalName(n *ast.KeyValueExpr) string {
	key, _ := n.Key.(*ast.Ident)
	value, _ := n.Value.(*ast.BasicLit)
	if key == nil || value == nil || value.Kind != token.STRING || key.Name != "FirstName" && key.Name != "LastName" {
		return ""
	}
	name, _ := strconv.Unquote(value.Value)
	return strings.TrimFunc(name, func(r rune) bool { return !unicode.IsLetter(r) })
}

func TestImportDepth(t *testing.T) {
	t.Parallel()
	graph := map[string]map[string]bool{}
	for _, f := range product(t) {
		ours, _ := f.imports()
		for _, p := range ours {
			if graph[f.dir] == nil {
				graph[f.dir] = map[string]bool{}
			}
			graph[f.dir][p] = true
		}
	}
	var depth func(p string) int
	depth = func(p string) (most int) {
		for next := range graph[p] {
			most = max(most, 1+depth(next))
		}
		return most
	}
	for p := range graph {
		if d := depth(p); d > 4 {
			t.Errorf("%s: imports reach %d deep, at most 4", p, d)
		}
	}
}

func TestShapeOfTheCode(t *testing.T) {
	t.Parallel()
	docs := map[string]bool{}
	for _, f := range product(t) {
		docs[f.dir] = docs[f.dir] || f.ast.Doc != nil
		if f.lines > 500 {
			t.Errorf("%s has %d lines, at most 500", f.path(), f.lines)
		}
		for _, decl := range f.ast.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1; n > 80 {
				t.Errorf("%s: %s has %d lines, at most 80", f.path(), fn.Name.Name, n)
			}
			if fn.Name.Name == "init" && fn.Recv == nil {
				t.Errorf("%s has an init function", f.path())
			}
		}
	}
	for dir, ok := range docs {
		if !ok {
			t.Errorf("package %q has no package comment", dir)
		}
	}
}

package shopify

import (
	"math"
	"os"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

func adminSchema(t *testing.T) *ast.Schema {
	t.Helper()
	text, err := os.ReadFile("../internal/emulator/shopify.graphql")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "admin.graphql", Input: string(text)})
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// TestOperations validates every embedded operation against the published
// schema, and computes its cost from the document.
func TestOperations(t *testing.T) {
	t.Parallel()
	schema := adminSchema(t)
	plain, consenting := operations(false), operations(true)
	for name, op := range plain {
		checkOperation(t, schema, name, op)
		checkOperation(t, schema, name+", with consent", consenting[name])
	}
}

func checkOperation(t *testing.T, schema *ast.Schema, name string, op operation) {
	t.Helper()
	doc, errs := gqlparser.LoadQueryWithRules(schema, op.document, nil)
	if len(errs) > 0 {
		t.Errorf("%s does not fit the schema: %v", name, errs)
		return
	}
	if len(doc.Operations) != 1 {
		t.Fatalf("%s holds %d operations", name, len(doc.Operations))
	}
	one := doc.Operations[0]
	if writes := one.Operation == ast.Mutation; writes != op.writes {
		t.Errorf("%s: writes is %t", name, op.writes)
	}
	if cost := points(one); cost != op.cost {
		t.Errorf("%s costs %g points, the table says %g", name, cost, op.cost)
	}
	for _, use := range deprecated(one.SelectionSet) {
		t.Errorf("%s reads %s, which is deprecated", name, use)
	}
}

// points prices an operation by the rules read off captured answers
// (facts/shopify.md, section 2).
func points(op *ast.OperationDefinition) (sum float64) {
	if op.Operation == ast.Query {
		return objects(op.SelectionSet)
	}
	for _, s := range op.SelectionSet { // 10 with the payload and its objects, 1 for each below
		sum += 10
		for _, payload := range fields(s.(*ast.Field).SelectionSet) {
			if payload.Name != "userErrors" {
				sum += objects(payload.SelectionSet)
			}
		}
	}
	return sum
}

func objects(set ast.SelectionSet) (sum float64) {
	for _, f := range fields(set) {
		switch {
		case len(f.SelectionSet) == 0 || f.Name == "pageInfo":
		case f.Definition.Type.Name() == "Count":
			sum += 10
		case strings.HasSuffix(f.Definition.Type.Name(), "Connection"):
			sum += 2 + factor(f)*objects(f.SelectionSet)
		default:
			sum += 1 + objects(f.SelectionSet)
		}
	}
	return sum
}

// factor is how much a connection's nodes count: 1→1, 2→1, 3→2, 5→3, 10→4,
// 20→5, 50→7, 250→11.
func factor(f *ast.Field) float64 {
	first, err := f.Arguments.ForName("first").Value.Value(nil)
	if err != nil {
		panic(err)
	}
	return max(1, math.Floor(2*math.Log(float64(first.(int64)))))
}

func fields(set ast.SelectionSet) (list []*ast.Field) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			list = append(list, s)
		case *ast.FragmentSpread:
			list = append(list, fields(s.Definition.SelectionSet)...)
		}
	}
	return list
}

func deprecated(set ast.SelectionSet) (names []string) {
	for _, f := range fields(set) {
		if f.Definition.Directives.ForName("deprecated") != nil {
			names = append(names, f.Name)
		}
		names = append(names, deprecated(f.SelectionSet)...)
	}
	return names
}

// TestFactor holds the rule against the captured pairs.
func TestFactor(t *testing.T) {
	t.Parallel()
	schema := adminSchema(t)
	for first, want := range map[string]float64{"1": 1, "2": 1, "3": 2, "5": 3, "10": 4, "20": 5, "50": 7, "250": 11} {
		doc := gqlparser.MustLoadQueryWithRules(schema, `{ customers(first: `+first+`) { nodes { id } } }`, nil)
		if got := points(doc.Operations[0]) - 2; got != want {
			t.Errorf("first: %s counts %g, want %g", first, got, want)
		}
	}
}

// TestWhatIsAsked: no search decides anything, and every file is in the table.
func TestWhatIsAsked(t *testing.T) {
	t.Parallel()
	files, err := queryFiles.ReadDir("queries")
	if err != nil {
		t.Fatal(err)
	}
	table := operations(false)
	// A backfill reads pages, which decide nothing, and sends two files within others.
	table["page"], table["export"], table["import"] = operation{}, operation{}, operation{}
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), ".graphql")
		if _, ok := table[name]; !ok && name != "snapshot" && name != "captured" {
			t.Errorf("%s is embedded and never sent", f.Name())
		}
	}
	for name, op := range table {
		if name != "check" && name != "list" && name != "look_prove" && strings.Contains(op.document, "customers(") {
			t.Errorf("%s searches", name)
		}
		for _, word := range []string{"address1", "addressesV2", "note", "onsent", "taxExempt", "multipass"} {
			if strings.Contains(op.document, word) && name != "consent" && (op.writes || word != "onsent" || !strings.HasPrefix(name, "look")) { // capture reads it
				t.Errorf("%s touches %q", name, word)
			}
		}
	}
}

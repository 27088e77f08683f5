package emulator

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
)

const (
	maxDocuments = 2000
	costHelp     = "https://shopify.dev/api/usage/rate-limits"
)

// document is a parsed and validated GraphQL document.
type document struct {
	query      *ast.QueryDocument // nil when it cannot be parsed
	errs       []*gqlError
	deprecated bool // it selects something deprecated
}

// operation is the named operation, or the only one.
func (d *document) operation(name string) *ast.OperationDefinition {
	if d.query == nil || name == "" && len(d.query.Operations) != 1 {
		return nil
	}
	return d.query.Operations.ForName(name)
}

// documents keeps documents by their text: clients send the same few again and
// again.
type documents struct {
	schema *ast.Schema

	mu   sync.Mutex
	text map[string]*document
}

func newDocuments(schema *ast.Schema) *documents {
	return &documents{schema: schema, text: map[string]*document{}}
}

func (d *documents) get(text string) *document {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.text[text]
	if known == nil {
		if len(d.text) >= maxDocuments {
			clear(d.text)
		}
		known = parseDocument(d.schema, text)
		d.text[text] = known
	}
	return known
}

func parseDocument(schema *ast.Schema, text string) *document {
	query, err := parser.ParseQuery(&ast.Source{Input: text})
	if err != nil {
		return &document{errs: []*gqlError{validationError(err)}}
	}
	doc := &document{query: query}
	for _, err := range validator.ValidateWithRules(schema, query, nil) {
		doc.errs = append(doc.errs, validationError(err))
	}
	for _, op := range query.Operations {
		doc.deprecated = doc.deprecated || selectsDeprecated(op.SelectionSet)
	}
	return doc
}

// validationCode is Shopify's code (of graphql-ruby) for one of the validator's
// rules.
func validationCode(rule string) string {
	switch rule {
	case "FieldsOnCorrectType":
		return "undefinedField"
	case "KnownArgumentNames":
		return "argumentNotAccepted"
	case "ProvidedRequiredArguments":
		return "missingRequiredArguments"
	case "ValuesOfCorrectType":
		return "argumentLiteralsIncompatible"
	case "VariablesInAllowedPosition":
		return "variableMismatch"
	case "NoUndefinedVariables":
		return "variableNotDefined"
	case "NoUnusedVariables":
		return "variableNotUsed"
	case "NoUnusedFragments", "KnownFragmentNames":
		return "useAndDefineFragment"
	case "ScalarLeafs":
		return "selectionMismatch"
	}
	return "parseError"
}

func validationError(err error) *gqlError {
	var told *gqlerror.Error
	if !errors.As(err, &told) {
		return codedError("parseError", "%v", err)
	}
	e := codedError(validationCode(told.Rule), "%s", told.Message)
	for _, at := range told.Locations {
		e.Locations = append(e.Locations, gqlLocation{at.Line, at.Column})
	}
	return e
}

func selectsDeprecated(set ast.SelectionSet) bool {
	for _, s := range set {
		field, ok := s.(*ast.Field)
		if !ok || field.Definition == nil {
			continue
		}
		if field.Definition.Directives.ForName("deprecated") != nil || selectsDeprecated(field.SelectionSet) {
			return true
		}
	}
	return false
}

// graphqlAnswer is the body of a GraphQL answer.
type graphqlAnswer struct {
	Data       *dataJSON       `json:"data,omitempty"`
	Errors     []*gqlError     `json:"errors,omitempty"`
	Extensions *costExtensions `json:"extensions,omitempty"`
}

// dataJSON is "data": it may be there and null.
type dataJSON struct{ value any }

// MarshalJSON writes the value.
func (d *dataJSON) MarshalJSON() ([]byte, error) {
	if o, ok := d.value.(*orderedJSON); ok {
		return o.MarshalJSON()
	}
	return []byte("null"), nil
}

type costExtensions struct {
	Cost costReport `json:"cost"`
}

type costReport struct {
	Requested int            `json:"requestedQueryCost"`
	Actual    *int           `json:"actualQueryCost"`
	Status    throttleStatus `json:"throttleStatus"`
}

// execute answers a request. The caller holds s.mu.
func (s *Shop) execute(doc *document, request graphqlRequest) graphqlAnswer {
	if len(doc.errs) > 0 {
		return graphqlAnswer{Errors: doc.errs}
	}
	op := doc.operation(request.OperationName)
	if op == nil {
		return graphqlAnswer{Errors: []*gqlError{{Message: fmt.Sprintf("No operation named %q", request.OperationName)}}}
	}
	vars, errs := coerceVariables(s.schema, op, request.Variables)
	if len(errs) > 0 {
		return graphqlAnswer{Errors: errs}
	}
	return s.pay(op, &execution{schema: s.schema, vars: vars})
}

// pay takes the price of an operation, runs it and gives back what it did not
// need.
func (s *Shop) pay(op *ast.OperationDefinition, e *execution) graphqlAnswer {
	root := s.root(op)
	requested := e.requestedCost(root.typename, op.SelectionSet)
	if requested > maxPoints {
		return graphqlAnswer{Errors: []*gqlError{tooDear(requested)}}
	}
	report := costReport{Requested: requested}
	if !s.bucket.take(requested) {
		report.Status = s.bucket.status()
		return graphqlAnswer{Errors: []*gqlError{throttled()}, Extensions: &costExtensions{report}}
	}
	data, actual := e.run(op, root)
	actual = min(actual, requested)
	s.bucket.refund(requested - actual)
	report.Actual, report.Status = &actual, s.bucket.status()
	return graphqlAnswer{Data: &dataJSON{data}, Errors: e.errors, Extensions: &costExtensions{report}}
}

// root is the object of the operation's root fields.
func (s *Shop) root(op *ast.OperationDefinition) *object {
	if op.Operation == ast.Mutation {
		return s.guarded(&object{"Mutation", s.mutations()})
	}
	return s.guarded(&object{"QueryRoot", s.queries()})
}

// guarded puts the check for scopes in front of root fields.
func (s *Shop) guarded(root *object) *object {
	for name := range root.fields {
		scope := requiredScope(root.typename, name)
		if scope == "" || s.access.may(scope) {
			continue
		}
		root.fields[name] = resolver(func(map[string]any) (any, error) { return nil, accessDenied(name, scope) })
	}
	return root
}

// requiredScope is the access scope of a root field (shopify.dev, the reference
// of each).
func requiredScope(root, field string) string {
	verb := "read"
	if root == "Mutation" {
		verb = "write"
	}
	switch {
	case strings.HasPrefix(field, "customerMerge"):
		return verb + "_customer_merge"
	case strings.HasSuffix(field, "DataErasure"):
		return "write_customer_data_erasure"
	case strings.HasPrefix(field, "customer"), strings.HasPrefix(field, "tags"), field == "nodes", field == "node",
		field == "metafieldsSet", field == "metafieldsDelete", strings.HasPrefix(field, "metafieldDefinition"):
		return verb + "_customers"
	}
	return ""
}

func accessDenied(field, scope string) *gqlError {
	need := "`" + scope + "` access scope."
	return codedError("ACCESS_DENIED", "Access denied for %s field. Required access: %s", field, need).with(map[string]any{
		"documentation": "https://shopify.dev/api/usage/access-scopes", "requiredAccess": need,
	})
}

func throttled() *gqlError {
	return codedError("THROTTLED", "Throttled").with(map[string]any{"documentation": costHelp})
}

func tooDear(cost int) *gqlError {
	const text = "Query cost is %d, which exceeds the single query max cost limit (%d).\n\nSee %s for more information on how the\ncost of a query is calculated.\n"
	return codedError("MAX_COST_EXCEEDED", text, cost, maxPoints, costHelp).with(map[string]any{
		"cost": cost, "maxCost": maxPoints, "documentation": costHelp,
	})
}

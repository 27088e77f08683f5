package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// gqlError is one of the "errors" of an answer. A resolver that returns one makes
// its field null.
type gqlError struct {
	Message    string         `json:"message"`
	Locations  []gqlLocation  `json:"locations,omitempty"`
	Path       []any          `json:"path,omitempty"`
	Extensions map[string]any `json:"extensions,omitempty"`
}

type gqlLocation struct {
	Line   int `json:"line"`
	Column int `json:"column"`
}

func (e *gqlError) Error() string { return e.Message }

func codedError(code, format string, args ...any) *gqlError {
	return &gqlError{Message: fmt.Sprintf(format, args...), Extensions: map[string]any{"code": code}}
}

// object is a value of an object type: its fields by name. A field's value is a
// scalar, an *object, a list, nil, or a resolver that makes one of these.
type object struct {
	typename string
	fields   map[string]any
}

// resolver computes a field from its arguments, in which an absent argument has
// no key and a null one has nil.
type resolver func(args map[string]any) (any, error)

// execution runs one operation. It knows nothing of Shopify but how its answers
// are priced.
type execution struct {
	schema *ast.Schema
	vars   map[string]any
	errors []*gqlError
}

// run answers an operation and says what it really cost in points.
func (e *execution) run(op *ast.OperationDefinition, root *object) (any, int) {
	data, cost, ok := e.selection(root, op.SelectionSet, nil)
	if !ok {
		return nil, cost
	}
	return data, cost
}

// selection completes an object. It is not ok when a field that must not be null
// is: then the whole object is null.
func (e *execution) selection(from *object, set ast.SelectionSet, path []any) (*orderedJSON, int, bool) {
	out, cost, ok := &orderedJSON{}, 0, true
	for _, s := range e.collect(from.typename, set) {
		value, price, fine := e.field(from, s, append(slices.Clip(path), s.key))
		cost += price
		ok = ok && fine
		out.add(s.key, value)
	}
	return out, cost, ok
}

// selected is what is asked for under one key of an answer.
type selected struct {
	key    string
	fields []*ast.Field // one, or several that merge
}

func (s *selected) set() ast.SelectionSet {
	if len(s.fields) == 1 {
		return s.fields[0].SelectionSet
	}
	var all ast.SelectionSet
	for _, field := range s.fields {
		all = append(all, field.SelectionSet...)
	}
	return all
}

// collect lists the fields that apply to a type, fragments resolved.
func (e *execution) collect(typename string, set ast.SelectionSet) []*selected {
	var list []*selected
	e.gather(typename, set, &list)
	return list
}

func (e *execution) gather(typename string, set ast.SelectionSet, into *[]*selected) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			if e.included(s.Directives) {
				merge(into, s)
			}
		case *ast.InlineFragment:
			if e.included(s.Directives) && e.applies(s.TypeCondition, typename) {
				e.gather(typename, s.SelectionSet, into)
			}
		case *ast.FragmentSpread:
			if e.included(s.Directives) && e.applies(s.Definition.TypeCondition, typename) {
				e.gather(typename, s.Definition.SelectionSet, into)
			}
		}
	}
}

func merge(into *[]*selected, field *ast.Field) {
	for _, s := range *into {
		if s.key == field.Alias {
			s.fields = append(s.fields, field)
			return
		}
	}
	*into = append(*into, &selected{field.Alias, []*ast.Field{field}})
}

// included follows @include and @skip.
func (e *execution) included(directives ast.DirectiveList) bool {
	for _, d := range directives {
		condition, _ := d.ArgumentMap(e.vars)["if"].(bool)
		if d.Name == "include" && !condition || d.Name == "skip" && condition {
			return false
		}
	}
	return true
}

func (e *execution) applies(condition, typename string) bool {
	if condition == "" || condition == typename {
		return true
	}
	return slices.ContainsFunc(e.schema.PossibleTypes[condition], func(d *ast.Definition) bool { return d.Name == typename })
}

// field resolves and completes one field.
func (e *execution) field(from *object, s *selected, path []any) (any, int, bool) {
	field := s.fields[0]
	if field.Name == "__typename" {
		return from.typename, 0, true
	}
	def := e.schema.Types[from.typename].Fields.ForName(field.Name)
	weight := fieldWeight(e.schema, from.typename, def)
	value, err := e.resolve(from, field)
	if err != nil {
		e.report(err, field, path)
		return nil, weight, !def.Type.NonNull
	}
	out, inner, ok := e.complete(def.Type, value, s, path)
	if isConnection(def.Type) {
		return out, e.pageCost(field, value, inner), ok
	}
	return out, weight + inner, ok
}

func (e *execution) resolve(from *object, field *ast.Field) (any, error) {
	value, known := from.fields[field.Name]
	if !known {
		return nil, codedError("NOT_EMULATED", "The emulator does not emulate %s.%s", from.typename, field.Name)
	}
	if resolve, ok := value.(resolver); ok {
		return resolve(field.ArgumentMap(e.vars))
	}
	return value, nil
}

func (e *execution) report(err error, field *ast.Field, path []any) {
	var known *gqlError
	if !errors.As(err, &known) {
		known = codedError("INTERNAL_SERVER_ERROR", "%v", err)
	}
	told := *known
	told.Locations, told.Path = locations(field.Position), slices.Clone(path)
	e.errors = append(e.errors, &told)
}

// complete turns a resolved value into its answer and adds up what is below it.
func (e *execution) complete(t *ast.Type, value any, s *selected, path []any) (any, int, bool) {
	if isNil(value) {
		if t.NonNull {
			e.report(codedError("INTERNAL_SERVER_ERROR", "Cannot return null for non-nullable field %s", s.fields[0].Name), s.fields[0], path)
		}
		return nil, 0, !t.NonNull
	}
	if t.Elem != nil {
		return e.completeList(t, value, s, path)
	}
	child, isObject := value.(*object)
	if !isObject {
		return leaf(value), 0, true
	}
	out, cost, ok := e.selection(child, s.set(), path)
	if !ok {
		return nil, cost, !t.NonNull
	}
	return out, cost, true
}

// completeList prices a list as its dearest entry: nodes(ids:) did not grow with
// the number of ids in captures.
func (e *execution) completeList(t *ast.Type, value any, s *selected, path []any) (any, int, bool) {
	entries := asList(value)
	out, cost := make([]any, len(entries)), 0
	for i, entry := range entries {
		done, price, ok := e.complete(t.Elem, entry, s, append(slices.Clip(path), i))
		if !ok {
			return nil, cost, !t.NonNull
		}
		out[i], cost = done, max(cost, price)
	}
	return out, cost, true
}

func asList(value any) []any {
	switch v := value.(type) {
	case []any:
		return v
	case []*object:
		return toAny(v)
	case []string:
		return toAny(v)
	}
	panic(fmt.Sprintf("emulator: %T is no list", value)) // a mistake of the emulator's
}

func toAny[T any](values []T) []any {
	list := make([]any, len(values))
	for i, value := range values {
		list[i] = value
	}
	return list
}

func isNil(value any) bool {
	o, isObject := value.(*object)
	return value == nil || isObject && o == nil
}

// leaf writes times as Shopify does: in UTC, whole seconds.
func leaf(value any) any {
	if at, ok := value.(time.Time); ok {
		return at.UTC().Format(time.RFC3339)
	}
	return value
}

func isConnection(t *ast.Type) bool { return strings.HasSuffix(t.Name(), "Connection") }

// orderedJSON is a JSON object whose members keep the order of the query.
type orderedJSON struct {
	keys   []string
	values []any
}

func (o *orderedJSON) add(key string, value any) {
	o.keys, o.values = append(o.keys, key), append(o.values, value)
}

// MarshalJSON writes the object in one pass, children included.
func (o *orderedJSON) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	err := appendJSON(&buf, o)
	return buf.Bytes(), err
}

func appendJSON(buf *bytes.Buffer, value any) error {
	switch v := value.(type) {
	case *orderedJSON:
		return appendObject(buf, v)
	case []any:
		buf.WriteByte('[')
		for i, entry := range v {
			if i > 0 {
				buf.WriteByte(',')
			}
			if err := appendJSON(buf, entry); err != nil {
				return err
			}
		}
		buf.WriteByte(']')
		return nil
	}
	text, err := json.Marshal(value)
	buf.Write(text)
	return err
}

func appendObject(buf *bytes.Buffer, o *orderedJSON) error {
	buf.WriteByte('{')
	for i, key := range o.keys {
		if i > 0 {
			buf.WriteByte(',')
		}
		fmt.Fprintf(buf, "%q:", key) // a GraphQL name needs no escapes
		if err := appendJSON(buf, o.values[i]); err != nil {
			return err
		}
	}
	buf.WriteByte('}')
	return nil
}

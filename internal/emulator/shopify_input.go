package emulator

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

const maxInputList = 250 // entries of a list in the input (shopify.dev, "Shopify API limits")

// gidPattern is the form of every id, such as gid://shopify/Customer/1.
var gidPattern = regexp.MustCompile(`^gid://[a-z-]+/[A-Za-z]+/[^\s]+$`)

// problem is one reason why a variable cannot be used, in the form of Shopify's
// INVALID_VARIABLE errors (captured by github.com/airhorns/shopify-draft-proxy).
type problem struct {
	Path        []any  `json:"path"`
	Explanation string `json:"explanation"`
}

// coercion turns the variables of a request into values of the schema's types:
// strictly, and telling an absent field from a null one.
type coercion struct {
	schema   *ast.Schema
	problems []problem
	longest  int // list seen
}

// coerceVariables returns the variables of an operation with their defaults, or
// one error per variable that is wrong.
func coerceVariables(schema *ast.Schema, op *ast.OperationDefinition, given map[string]any) (map[string]any, []*gqlError) {
	vars := map[string]any{}
	var errs []*gqlError
	for _, def := range op.VariableDefinitions {
		value, present := given[def.Variable]
		if !present && def.DefaultValue != nil {
			value, _ = def.DefaultValue.Value(nil) // a literal that was validated
			vars[def.Variable] = value
			continue
		}
		c := &coercion{schema: schema}
		coerced := c.value(def.Type, value, []any{})
		if err := c.failure(def, value); err != nil {
			errs = append(errs, err)
		} else if present {
			vars[def.Variable] = coerced
		}
	}
	return vars, errs
}

func (c *coercion) failure(def *ast.VariableDefinition, value any) *gqlError {
	at := locations(def.Position)
	if c.longest > maxInputList {
		return &gqlError{
			Message:    fmt.Sprintf("The input array size of %d is greater than the maximum allowed of %d.", c.longest, maxInputList),
			Locations:  at,
			Extensions: map[string]any{"code": "MAX_INPUT_SIZE_EXCEEDED"},
		}
	}
	if len(c.problems) == 0 {
		return nil
	}
	message := fmt.Sprintf("Variable $%s of type %s was provided invalid value", def.Variable, def.Type)
	for i, p := range c.problems {
		message += problemText(i, p)
	}
	return &gqlError{
		Message: message, Locations: at,
		Extensions: map[string]any{"code": "INVALID_VARIABLE", "value": value, "problems": c.problems},
	}
}

func problemText(i int, p problem) string {
	if len(p.Path) == 0 {
		return ""
	}
	names := make([]string, len(p.Path))
	for j, step := range p.Path {
		names[j] = fmt.Sprint(step)
	}
	lead := " for "
	if i > 0 {
		lead = ", "
	}
	return fmt.Sprintf("%s%s (%s)", lead, strings.Join(names, "."), p.Explanation)
}

func (c *coercion) fail(path []any, format string, args ...any) any {
	c.problems = append(c.problems, problem{slices.Clone(path), fmt.Sprintf(format, args...)})
	return nil
}

func (c *coercion) value(t *ast.Type, value any, path []any) any {
	if value == nil {
		if t.NonNull {
			return c.fail(path, "Expected value to not be null")
		}
		return nil
	}
	if t.Elem != nil {
		return c.list(t, value, path)
	}
	def := c.schema.Types[t.NamedType]
	switch def.Kind {
	case ast.Enum:
		return c.enum(def, value, path)
	case ast.InputObject:
		return c.object(def, value, path)
	}
	return c.scalar(def.Name, value, path)
}

// list also takes a single value, as GraphQL wants it.
func (c *coercion) list(t *ast.Type, value any, path []any) any {
	entries, ok := value.([]any)
	if !ok {
		entries = []any{value}
	}
	c.longest = max(c.longest, len(entries))
	coerced := make([]any, len(entries))
	for i, entry := range entries {
		coerced[i] = c.value(t.Elem, entry, append(path, i))
	}
	return coerced
}

func (c *coercion) enum(def *ast.Definition, value any, path []any) any {
	name, ok := value.(string)
	if ok && def.EnumValues.ForName(name) != nil {
		return name
	}
	var names []string
	for _, allowed := range def.EnumValues {
		names = append(names, allowed.Name)
	}
	text, _ := json.Marshal(value) // it came from JSON
	return c.fail(path, "Expected %s to be one of: %s", text, strings.Join(names, ", "))
}

func (c *coercion) object(def *ast.Definition, value any, path []any) any {
	given, ok := value.(map[string]any)
	if !ok {
		text, _ := json.Marshal(value) // it came from JSON
		return c.fail(path, "Expected %s to be a key-value object.", text)
	}
	if def.Directives.ForName("oneOf") != nil && !exactlyOne(given) {
		return c.fail(path, "'%s' requires exactly one argument, but %d were provided.", def.Name, len(given))
	}
	for _, name := range sortedKeys(given) {
		if def.Fields.ForName(name) == nil {
			c.fail(append(path, name), "Field is not defined on %s", def.Name)
		}
	}
	coerced := map[string]any{}
	for _, field := range def.Fields {
		c.member(field, given, coerced, path)
	}
	return coerced
}

func (c *coercion) member(field *ast.FieldDefinition, given, coerced map[string]any, path []any) {
	value, present := given[field.Name]
	if !present && field.DefaultValue != nil {
		coerced[field.Name], _ = field.DefaultValue.Value(nil) // a literal of the schema
		return
	}
	if result := c.value(field.Type, value, append(path, field.Name)); present {
		coerced[field.Name] = result
	}
}

// exactlyOne checks the rule of @oneOf.
func exactlyOne(given map[string]any) bool {
	for _, value := range given {
		return len(given) == 1 && value != nil
	}
	return false
}

func (c *coercion) scalar(name string, value any, path []any) any {
	switch v := value.(type) {
	case string:
		return c.text(name, v, path)
	case bool:
		if name == "Boolean" || name == "JSON" {
			return v
		}
	case json.Number:
		return c.number(name, v, path)
	default:
		if name == "JSON" {
			return v
		}
	}
	text, _ := json.Marshal(value) // it came from JSON
	return c.fail(path, "Could not coerce value %s to %s", text, name)
}

func (c *coercion) text(name, v string, path []any) any {
	switch name {
	case "Int", "Float", "Boolean":
		return c.fail(path, "Could not coerce value %q to %s", v, name)
	case "ID":
		if !gidPattern.MatchString(v) {
			return c.fail(path, "Invalid global id '%s'", v)
		}
	case "DateTime":
		if _, err := time.Parse(time.RFC3339, v); err != nil {
			return c.fail(path, "invalid DateTime '%s'", v)
		}
	case "UnsignedInt64":
		if _, err := strconv.ParseUint(v, 10, 64); err != nil {
			return c.fail(path, "Could not coerce value %q to %s", v, name)
		}
	}
	return v
}

func (c *coercion) number(name string, v json.Number, path []any) any {
	whole, err := v.Int64()
	switch {
	case name == "Int" && err == nil && whole >= math.MinInt32 && whole <= math.MaxInt32:
		return whole
	case name == "ID":
		return c.fail(path, "Invalid global id '%s'", v)
	case name == "Float", name == "Decimal", name == "JSON", name == "UnsignedInt64" && err == nil && whole >= 0:
		return v.String()
	}
	return c.fail(path, "Could not coerce value %s to %s", v, name)
}

// locations is where something stands in a document.
func locations(at *ast.Position) []gqlLocation {
	if at == nil {
		return nil
	}
	return []gqlLocation{{at.Line, at.Column}}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

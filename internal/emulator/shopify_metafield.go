package emulator

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxDefinitions   = 256  // per owner type
	maxMetafieldsSet = 25   // per call
	maxIDValue       = 2048 // bytes of a value of type id
	valueTaken       = "Value is already assigned to another metafield. Choose a different value to ensure it remains unique."
	valueStale       = "The resource has been updated since it was loaded. Try again with an updated `compareDigest` value."
	noIDDefinition   = "Metafield definition of type 'id' is required when using custom ids."
)

var (
	namespacePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{3,255}$`)
	keyPattern       = regexp.MustCompile(`^[A-Za-z0-9_-]{2,64}$`)
	appNamespace     = regexp.MustCompile(`^app--(\d+)(--|$)`)
)

// definition is a metafield definition.
type definition struct {
	number               int64
	owner                string // of MetafieldOwnerType
	namespace, key, kind string
	name, description    string
	unique               bool
	adminAccess          string
	pinned               bool
}

func (d *definition) gid() string {
	return fmt.Sprintf("gid://shopify/MetafieldDefinition/%d", d.number)
}

// metafieldTypes are the value types the emulator takes; Shopify has some more.
func metafieldTypes() []string {
	return []string{
		"id", "single_line_text_field", "multi_line_text_field", "number_integer", "number_decimal", "boolean",
		"date", "date_time", "json", "url", "color",
	}
}

// uniqueTypes may have unique values.
func uniqueTypes() []string {
	return []string{"id", "number_integer", "single_line_text_field", "url"}
}

// namespace resolves an absent namespace, or $app, to the app's own one.
func (s *Shop) namespace(given any) string {
	text, own := textOf(given), fmt.Sprintf("app--%d", s.access.appID)
	switch {
	case text == "", text == "$app":
		return own
	case strings.HasPrefix(text, "$app:"):
		return own + "--" + strings.TrimPrefix(text, "$app:")
	}
	return text
}

// foreign reports whether a namespace is another app's.
func (s *Shop) foreign(namespace string) bool {
	match := appNamespace.FindStringSubmatch(namespace)
	return match != nil && match[1] != strconv.FormatInt(s.access.appID, 10)
}

func (s *Shop) definition(owner, namespace, key string) *definition {
	for _, d := range s.definitions {
		if d.owner == owner && d.namespace == namespace && d.key == key {
			return d
		}
	}
	return nil
}

// idDefinition is the definition that a custom id needs.
func (s *Shop) idDefinition(custom map[string]any) (*definition, error) {
	d := s.definition("CUSTOMER", s.namespace(custom["namespace"]), textOf(custom["key"]))
	if d == nil || d.kind != "id" || s.foreign(d.namespace) {
		return nil, codedError("NOT_FOUND", "%s", noIDDefinition)
	}
	return d, nil
}

func (s *Shop) definitionCreate(args map[string]any) (any, error) {
	const payload = "MetafieldDefinitionCreatePayload"
	input := inputOf(args, "definition")
	d := &definition{
		owner: textOf(input["ownerType"]), namespace: s.namespace(input["namespace"]), key: textOf(input["key"]),
		kind: textOf(input["type"]), name: textOf(input["name"]), description: textOf(input["description"]),
		adminAccess: "MERCHANT_READ_WRITE", pinned: input["pin"] == true,
	}
	if admin := textOf(inputOf(input, "access")["admin"]); admin != "" {
		d.adminAccess = admin
	}
	if s.foreign(d.namespace) {
		return nil, codedError("ACCESS_DENIED", "Access to this namespace and key on Metafields for this resource type is not allowed.")
	}
	if wrong := s.checkDefinition(d, input); wrong != nil {
		return s.payload(payload, map[string]any{"createdDefinition": nil}, *wrong), nil
	}
	d.number = s.number()
	s.definitions = append(s.definitions, d)
	s.announceDefinition("METAFIELD_DEFINITIONS_CREATE", d)
	return s.payload(payload, map[string]any{"createdDefinition": s.definitionObject(d)}), nil
}

// checkDefinition also decides whether values must be unique.
func (s *Shop) checkDefinition(d *definition, input map[string]any) *userError {
	field := func(name, code, format string, args ...any) *userError {
		return &userError{field: []string{"definition", name}, code: code, message: fmt.Sprintf(format, args...)}
	}
	unique, asked := inputOf(inputOf(input, "capabilities"), "uniqueValues")["enabled"].(bool)
	d.unique = unique || d.kind == "id"
	owned := 0
	for _, other := range s.definitions {
		if other.owner == d.owner {
			owned++
		}
	}
	switch {
	case !slices.Contains(metafieldTypes(), d.kind):
		return field("type", "INCLUSION", "Type name %s is not a valid type.", d.kind)
	case !namespacePattern.MatchString(d.namespace):
		return field("namespace", "INVALID_CHARACTER", "Namespace is invalid.")
	case !keyPattern.MatchString(d.key):
		return field("key", "INVALID_CHARACTER", "Key is invalid.")
	case d.name == "":
		return field("name", "BLANK", "Name can't be blank")
	case d.kind == "id" && asked && !unique:
		return &userError{field: []string{"definition"}, code: "CAPABILITY_REQUIRED_BUT_DISABLED", message: "Capability unique_values is required for type id but is disabled"}
	case unique && !slices.Contains(uniqueTypes(), d.kind):
		return &userError{field: []string{"definition"}, code: "INVALID_CAPABILITY", message: "The capability unique_values is not valid for this definition."}
	case s.definition(d.owner, d.namespace, d.key) != nil:
		return field("key", "TAKEN", "Key is in use for %s metafields on the '%s' namespace.", titled(d.owner), d.namespace)
	case owned >= maxDefinitions:
		return &userError{field: []string{"definition"}, code: "RESOURCE_TYPE_LIMIT_EXCEEDED", message: fmt.Sprintf("Stores can only have %d definitions for each store resource.", maxDefinitions)}
	case d.unique && s.metafieldInUse(d.namespace, d.key):
		return field("key", "UNSTRUCTURED_ALREADY_EXISTS", "Unstructured metafields exist for this namespace and key.")
	}
	return nil
}

func titled(owner string) string { return owner[:1] + strings.ToLower(owner[1:]) }

func (s *Shop) metafieldInUse(namespace, key string) bool {
	for _, c := range s.store.byNumber {
		if c.metafield(namespace, key) != nil {
			return true
		}
	}
	return false
}

func (s *Shop) definitionDelete(args map[string]any) (any, error) {
	const payload = "MetafieldDefinitionDeletePayload"
	at := slices.IndexFunc(s.definitions, func(d *definition) bool {
		if id := textOf(args["id"]); id != "" {
			return d.gid() == id
		}
		identifier := inputOf(args, "identifier")
		return d == s.definition(textOf(identifier["ownerType"]), s.namespace(identifier["namespace"]), textOf(identifier["key"]))
	})
	if at < 0 {
		return s.payload(payload, map[string]any{"deletedDefinitionId": nil}, userError{field: []string{"id"}, code: "NOT_FOUND", message: "Definition not found."}), nil
	}
	d := s.definitions[at]
	all, _ := args["deleteAllAssociatedMetafields"].(bool)
	if d.kind == "id" && !all && s.metafieldInUse(d.namespace, d.key) {
		return s.payload(payload, map[string]any{"deletedDefinitionId": nil}, userError{field: []string{"id"}, code: "ID_TYPE_DELETION_ERROR", message: "Deleting an id type metafield definition requires deletion of its associated metafields."}), nil
	}
	s.definitions = slices.Delete(s.definitions, at, at+1)
	if all {
		s.removeValues(d)
	}
	s.announceDefinition("METAFIELD_DEFINITIONS_DELETE", d)
	return s.payload(payload, map[string]any{"deletedDefinitionId": d.gid()}), nil
}

func (s *Shop) removeValues(d *definition) {
	for _, c := range s.store.all() {
		if c.metafield(d.namespace, d.key) != nil {
			without := c.clone()
			without.removeMetafield(d.namespace, d.key)
			s.store.put(without)
		}
	}
}

func (c *ShopCustomer) removeMetafield(namespace, key string) {
	c.Metafields = slices.DeleteFunc(c.Metafields, func(m ShopMetafield) bool { return m.Namespace == namespace && m.Key == key })
}

// putMetafield sets a value. An equal one stays as it is.
func (s *Shop) putMetafield(c *ShopCustomer, namespace, key, kind, value string) *ShopMetafield {
	at := s.options.Now()
	m := c.metafield(namespace, key)
	if m == nil {
		c.Metafields = append(c.Metafields, ShopMetafield{Number: s.number(), Namespace: namespace, Key: key, CreatedAt: at})
		m = &c.Metafields[len(c.Metafields)-1]
	} else if m.Value == value && m.Type == kind {
		return m
	}
	m.Type, m.Value, m.UpdatedAt = kind, value, at
	return m
}

// digest changes with the value.
func (m *ShopMetafield) digest() string {
	sum := sha256.Sum256([]byte(m.Type + "\x00" + m.Value))
	return hex.EncodeToString(sum[:])
}

func (m *ShopMetafield) gid() string { return fmt.Sprintf("gid://shopify/Metafield/%d", m.Number) }

// metafieldInput is one value to set.
type metafieldInput struct {
	namespace, key, kind, value string
	digest                      any
	compare                     bool // digest was given: a text, or null for "only if absent"
}

func (s *Shop) metafieldInput(input map[string]any) metafieldInput {
	m := metafieldInput{namespace: s.namespace(input["namespace"]), key: textOf(input["key"]), kind: textOf(input["type"]), value: textOf(input["value"])}
	m.digest, m.compare = input["compareDigest"]
	if d := s.definition("CUSTOMER", m.namespace, m.key); d != nil && m.kind == "" {
		m.kind = d.kind
	}
	return m
}

// applyMetafields sets the metafields of a CustomerInput; one that is wrong fails
// the whole mutation.
func (s *Shop) applyMetafields(c *ShopCustomer, input map[string]any) []userError {
	list := listOf(input["metafields"])
	var errs []userError
	for i, entry := range list {
		fields, _ := entry.(map[string]any)
		m := s.metafieldInput(fields)
		if wrong := s.checkMetafield(c, m); wrong != nil {
			wrong.field = []string{"metafields", strconv.Itoa(i), "value"}
			wrong.index = i
			errs = append(errs, *wrong)
			continue
		}
		s.putMetafield(c, m.namespace, m.key, m.kind, m.value)
	}
	return errs
}

// checkMetafield finds what forbids a value on a customer, in the order of
// digest, type, value, uniqueness.
func (s *Shop) checkMetafield(c *ShopCustomer, m metafieldInput) *userError {
	present := c.metafield(m.namespace, m.key)
	d := s.definition("CUSTOMER", m.namespace, m.key)
	switch {
	case m.compare && m.digest == nil && present != nil, m.compare && m.digest != nil && present != nil && m.digest != present.digest():
		return &userError{code: "STALE_OBJECT", message: valueStale}
	case m.compare && m.digest != nil && present == nil:
		return &userError{code: "INVALID_COMPARE_DIGEST", message: "Invalid `compareDigest` value."}
	case m.value == "":
		return &userError{code: "BLANK", message: "Value can't be blank."}
	case m.kind == "":
		return &userError{code: "INVALID_TYPE", message: "Type can't be blank"}
	case !slices.Contains(metafieldTypes(), m.kind) || d != nil && d.kind != m.kind:
		return &userError{code: "INVALID_TYPE", message: "Type " + m.kind + " is not valid for this metafield."}
	case m.kind == "id" && d == nil:
		return &userError{code: "CAPABILITY_VIOLATION", message: noIDDefinition}
	case m.kind == "id" && len(m.value) > maxIDValue:
		return &userError{code: "TOO_LONG", message: fmt.Sprintf("Value is too long (maximum is %d bytes)", maxIDValue)}
	case !validValue(m.kind, m.value):
		return &userError{code: "INVALID_VALUE", message: "Value must be a valid " + m.kind + "."}
	}
	if other := s.store.findMetafield(m.namespace, m.key, m.value); d != nil && d.unique && other != nil && other.number != c.number {
		return &userError{code: "TAKEN", message: valueTaken}
	}
	return nil
}

func validValue(kind, value string) bool {
	var err error
	switch kind {
	case "number_integer":
		_, err = strconv.ParseInt(value, 10, 64)
	case "number_decimal":
		_, err = strconv.ParseFloat(value, 64)
	case "boolean":
		return value == "true" || value == "false"
	case "date":
		_, err = time.Parse(time.DateOnly, value)
	case "date_time":
		_, err = time.Parse(time.RFC3339, value)
	case "json":
		return json.Valid([]byte(value))
	case "id", "single_line_text_field":
		return !strings.ContainsAny(value, "\n\r")
	}
	return err == nil
}

// metafieldsSet is atomic: one error, and nothing is written. A webhook for a
// change of metafields alone is not known of, so none is sent.
func (s *Shop) metafieldsSet(args map[string]any) (any, error) {
	const payload = "MetafieldsSetPayload"
	list := listOf(args["metafields"])
	if len(list) > maxMetafieldsSet {
		return s.payload(payload, map[string]any{"metafields": []*object{}}, userError{field: []string{"metafields"}, code: "LESS_THAN_OR_EQUAL_TO", message: "Exceeded the maximum metafields input limit of 25."}), nil
	}
	batch := &metafieldBatch{shop: s, changed: map[int64]*ShopCustomer{}, claimed: map[string]int64{}}
	for i, entry := range list {
		if err := batch.set(i, entry.(map[string]any)); err != nil {
			return nil, err
		}
	}
	if len(batch.errs) > 0 {
		return s.payload(payload, map[string]any{"metafields": []*object{}}, batch.errs...), nil
	}
	return s.payload(payload, map[string]any{"metafields": batch.commit()}), nil
}

// metafieldBatch collects the changes of one metafieldsSet.
type metafieldBatch struct {
	shop    *Shop
	changed map[int64]*ShopCustomer
	claimed map[string]int64 // unique values of this batch
	places  []metafieldPlace
	errs    []userError
}

type metafieldPlace struct {
	owner          int64
	namespace, key string
}

func (b *metafieldBatch) set(i int, input map[string]any) error {
	s := b.shop
	m := s.metafieldInput(input)
	if s.foreign(m.namespace) {
		return codedError("ACCESS_DENIED", "Access to this namespace and key on Metafields for this resource type is not allowed.")
	}
	at := func(name string) []string { return []string{"metafields", strconv.Itoa(i), name} }
	stored := s.store.find(textOf(input["ownerId"]))
	if stored == nil {
		b.errs = append(b.errs, userError{field: at("ownerId"), code: "INVALID", message: "Owner does not exist.", index: i})
		return nil
	}
	c := b.changed[stored.number]
	if c == nil {
		c = stored.clone()
	}
	wrong := s.checkMetafield(c, m)
	if owner, taken := b.claimed[metafieldKey(m.namespace, m.key, m.value)]; taken && owner != c.number && wrong == nil {
		wrong = &userError{code: "TAKEN", message: valueTaken}
	}
	if wrong != nil {
		wrong.field, wrong.index = at(fieldOf(wrong.code)), i
		if wrong.code == "STALE_OBJECT" || wrong.code == "INVALID_COMPARE_DIGEST" {
			wrong.field = wrong.field[:2] // the whole entry
		}
		b.errs = append(b.errs, *wrong)
		return nil
	}
	s.putMetafield(c, m.namespace, m.key, m.kind, m.value)
	b.changed[c.number] = c
	if d := s.definition("CUSTOMER", m.namespace, m.key); d != nil && d.unique {
		b.claimed[metafieldKey(m.namespace, m.key, m.value)] = c.number
	}
	b.places = append(b.places, metafieldPlace{c.number, m.namespace, m.key})
	return nil
}

// fieldOf is the field of an input that an error is about.
func fieldOf(code string) string {
	if code == "INVALID_TYPE" {
		return "type"
	}
	return "value"
}

func (b *metafieldBatch) commit() []*object {
	for _, c := range b.changed {
		b.shop.store.put(c)
	}
	list := make([]*object, len(b.places))
	for i, place := range b.places {
		c := b.changed[place.owner]
		list[i] = b.shop.metafieldObject(c, c.metafield(place.namespace, place.key))
	}
	return list
}

// metafieldsDelete tells null for what was not there.
func (s *Shop) metafieldsDelete(args map[string]any) (any, error) {
	const payload = "MetafieldsDeletePayload"
	list := listOf(args["metafields"])
	deleted := make([]any, len(list))
	for i, entry := range list {
		input := entry.(map[string]any)
		namespace, key := s.namespace(input["namespace"]), textOf(input["key"])
		if s.foreign(namespace) {
			wrong := userError{field: []string{"metafields"}, message: "Access to this namespace and key on Metafields for this resource type is not allowed."}
			return s.payload(payload, map[string]any{"deletedMetafields": []any{}}, wrong), nil
		}
		old := s.store.find(textOf(input["ownerId"]))
		if old == nil || old.metafield(namespace, key) == nil {
			continue
		}
		c := old.clone()
		c.removeMetafield(namespace, key)
		s.store.put(c)
		deleted[i] = &object{"MetafieldIdentifier", map[string]any{"ownerId": c.ID, "namespace": namespace, "key": key}}
	}
	return s.payload(payload, map[string]any{"deletedMetafields": deleted}), nil
}

package emulator

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

// Limits of bulk operations (shopify.dev, "Perform bulk operations with the
// GraphQL Admin API" and "Bulk import data").
const (
	maxBulk            = 5 // of each kind at once per app and shop, since 2026-01
	maxBulkConnections = 5
	maxBulkDepth       = 2
	bulkURLDays        = 7
	minIdentifier      = 10
	maxIdentifier      = 255
)

// Kinds and states of bulk operations, as the schema names them.
const (
	bulkQueryKind    = "QUERY"
	bulkMutationKind = "MUTATION"

	bulkCreated   = "CREATED"
	bulkRunning   = "RUNNING"
	bulkCanceling = "CANCELING"
	bulkCanceled  = "CANCELED"
	bulkCompleted = "COMPLETED"
	bulkFailed    = "FAILED"
	bulkExpired   = "EXPIRED"
)

// BulkFault is the end of a bulk operation that goes wrong.
type BulkFault struct {
	Status    string `json:"status"`     // FAILED, CANCELED or EXPIRED
	ErrorCode string `json:"error_code"` // ACCESS_DENIED, INTERNAL_SERVER_ERROR, TIMEOUT or ""
	After     int    `json:"after"`      // lines of the result that are written before
}

// BulkLife says how the bulk operations of a shop go.
type BulkLife struct {
	Refused bool `json:"refused"` // starting one, or staging an upload, is answered ACCESS_DENIED
	Held    bool `json:"held"`    // none makes progress

	// Pace is the lines per second, of the emulator's clock, that each operation
	// does; zero: as many as the machine can. Shopify publishes no number.
	Pace float64 `json:"pace"`

	Faults []BulkFault `json:"faults"` // of the operations to come, one each
}

// SetBulk changes how bulk operations go, those under way included.
func (s *Shop) SetBulk(life BulkLife) error {
	if life.Pace < 0 {
		return fmt.Errorf("a pace is 0 or more lines per second")
	}
	for _, f := range life.Faults {
		if !slices.Contains([]string{bulkFailed, bulkCanceled, bulkExpired}, f.Status) || f.After < 0 {
			return fmt.Errorf("a bulk operation goes wrong as FAILED, CANCELED or EXPIRED, after 0 or more lines")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	life.Faults = slices.Clone(life.Faults)
	s.bulk = life
	return nil
}

// BulkOperation is a bulk operation as the merchant's support would see it.
type BulkOperation struct {
	ID         string `json:"id"`
	Kind       string `json:"type"`
	Status     string `json:"status"`
	ErrorCode  string `json:"error_code"`
	Objects    int64  `json:"object_count"`
	Size       int64  `json:"file_size"`
	Identifier string `json:"client_identifier"`
	Query      string `json:"query"`
}

// BulkOperations returns all bulk operations in the order of their start.
func (s *Shop) BulkOperations() []BulkOperation {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]BulkOperation, len(s.operations))
	for i, op := range s.operations {
		list[i] = BulkOperation{op.gid(), op.kind, s.bulkStatus(op), op.errorCode, op.objects, op.result.size, op.identifier, op.text}
	}
	return list
}

// bulkOperation is one bulk operation.
type bulkOperation struct {
	number      int64
	kind        string
	text        string // the document
	identifier  string // clientIdentifier
	status      string // as last set; see bulkStatus
	errorCode   string
	fault       *BulkFault
	createdAt   time.Time
	completedAt time.Time
	work        bulkWork
	done        int // roots or lines taken from work
	objects     int64
	roots       int64
	waiting     [][]byte // lines that are not in the result yet
	result      *spool
}

// bulkWork yields the lines of a result: those of one root object or of one
// mutation at a time, none at the end.
type bulkWork interface {
	next(s *Shop) (lines [][]byte, err error)
}

func (o *bulkOperation) gid() string { return fmt.Sprintf("gid://shopify/BulkOperation/%d", o.number) }

func (o *bulkOperation) over() bool {
	return o.status != bulkCreated && o.status != bulkRunning && o.status != bulkCanceling
}

// bulkStatus is the status at this time: a result expires.
func (s *Shop) bulkStatus(op *bulkOperation) string {
	if op.status == bulkCompleted && s.options.Now().Sub(op.completedAt) > bulkURLDays*24*time.Hour {
		return bulkExpired
	}
	return op.status
}

func (s *Shop) operation(id string) *bulkOperation {
	for _, op := range s.operations {
		if op.gid() == id {
			return op
		}
	}
	return nil
}

// begin starts an operation unless as many are under way as may be.
func (s *Shop) begin(op *bulkOperation) (*bulkOperation, *userError) {
	live := 0
	for _, other := range s.operations {
		if other.kind == op.kind && !other.over() {
			live++
		}
	}
	if live >= maxBulk {
		return nil, &userError{code: "OPERATION_IN_PROGRESS", message: fmt.Sprintf(
			"A bulk %s operation for this app and shop is already in progress: %d of %d.", strings.ToLower(op.kind), live, maxBulk)}
	}
	result, err := newSpool()
	if err != nil {
		return nil, &userError{message: "the emulator has no room for the result"}
	}
	op.number, op.status, op.createdAt, op.result = s.number(), bulkCreated, s.options.Now(), result
	if len(s.bulk.Faults) > 0 {
		op.fault, s.bulk.Faults = &s.bulk.Faults[0], s.bulk.Faults[1:]
	}
	s.operations = append(s.operations, op)
	go s.runBulk(op)
	return op, nil
}

func (s *Shop) bulkRunQuery(args map[string]any) (any, error) {
	const payload = "BulkOperationRunQueryPayload"
	if s.bulk.Refused {
		return nil, accessDenied("bulkOperationRunQuery", "read_customers")
	}
	text := textOf(args["query"])
	work, wrong := s.newBulkQuery(text)
	var op *bulkOperation
	if wrong == nil {
		op, wrong = s.begin(&bulkOperation{kind: bulkQueryKind, text: text, work: work})
	}
	return s.begun(payload, op, wrong), nil
}

func (s *Shop) bulkRunMutation(args map[string]any) (any, error) {
	const payload = "BulkOperationRunMutationPayload"
	if s.bulk.Refused {
		return nil, accessDenied("bulkOperationRunMutation", "write_customers")
	}
	text, identifier := textOf(args["mutation"]), textOf(args["clientIdentifier"])
	work, wrong := s.newBulkMutation(text, textOf(args["stagedUploadPath"]))
	if n := len(identifier); identifier != "" && (n < minIdentifier || n > maxIdentifier) {
		wrong = &userError{field: []string{"clientIdentifier"}, code: "INVALID_MUTATION", message: "The client identifier must have 10 to 255 characters."}
	}
	var op *bulkOperation
	if wrong == nil {
		op, wrong = s.begin(&bulkOperation{kind: bulkMutationKind, text: text, identifier: identifier, work: work})
	}
	return s.begun(payload, op, wrong), nil
}

func (s *Shop) begun(payload string, op *bulkOperation, wrong *userError) *object {
	if wrong != nil {
		return s.payload(payload, map[string]any{"bulkOperation": nil}, *wrong)
	}
	return s.payload(payload, map[string]any{"bulkOperation": s.bulkObject(op)})
}

func (s *Shop) bulkCancel(args map[string]any) (any, error) {
	const payload = "BulkOperationCancelPayload"
	op := s.operation(textOf(args["id"]))
	switch {
	case op == nil:
		return s.begun(payload, nil, &userError{field: []string{"id"}, message: "Bulk operation does not exist"}), nil
	case op.over():
		message := "A bulk operation cannot be canceled when it is " + strings.ToLower(op.status)
		return s.payload(payload, map[string]any{"bulkOperation": s.bulkObject(op)}, userError{message: message}), nil
	}
	op.status = bulkCanceling
	return s.begun(payload, op, nil), nil
}

// bulkByID also makes the progress that is due, so that with a clock of the
// test's own each look tells the same.
func (s *Shop) bulkByID(args map[string]any) (any, error) {
	op := s.operation(textOf(args["id"]))
	if op == nil {
		return nil, nil
	}
	if s.bulk.Pace > 0 {
		s.step(op, op.due(s.bulk, s.options.Now()))
	}
	return s.bulkObject(op), nil
}

func (s *Shop) bulkPage(args map[string]any) (any, error) {
	query := parseSearch(textOf(args["query"]))
	var rows []row
	for _, op := range s.operations {
		if query.empty() || slices.ContainsFunc(query, func(all []term) bool { return s.bulkMatches(op, all) }) {
			at := op.createdAt
			if args["sortKey"] == "COMPLETED_AT" {
				at = op.completedAt
			}
			rows = append(rows, row{op.number, at.UTC().Format("2006-01-02T15:04:05.000000000"), func() *object { return s.bulkObject(op) }})
		}
	}
	slices.SortFunc(rows, row.compare)
	return pageOf("BulkOperation", rows, args)
}

// bulkMatches knows the filters that bulkOperations has.
func (s *Shop) bulkMatches(op *bulkOperation, all []term) bool {
	return !slices.ContainsFunc(all, func(t term) bool {
		matches := true
		switch t.field {
		case "status":
			matches = strings.EqualFold(s.bulkStatus(op), t.value)
		case "operation_type":
			matches = strings.EqualFold(op.kind, t.value)
		case "id":
			matches = strings.HasSuffix(op.gid(), "/"+t.value)
		case "created_at":
			matches = t.day(op.createdAt)
		}
		return matches == t.negative
	})
}

func (s *Shop) bulkObject(op *bulkOperation) *object {
	status := s.bulkStatus(op)
	fields := map[string]any{
		"id": op.gid(), "type": op.kind, "query": op.text, "status": status, "errorCode": nullable(op.errorCode),
		"createdAt": op.createdAt, "completedAt": nil, "fileSize": nil, "url": nil, "partialDataUrl": nil,
		"objectCount": strconv.FormatInt(op.objects, 10), "rootObjectCount": strconv.FormatInt(op.roots, 10),
	}
	if op.over() {
		fields["completedAt"] = op.completedAt
	}
	if op.over() && op.result.size > 0 {
		fields["fileSize"] = strconv.FormatInt(op.result.size, 10)
		switch status {
		case bulkCompleted:
			fields["url"] = s.resultURL(op)
		case bulkFailed, bulkCanceled:
			fields["partialDataUrl"] = s.resultURL(op)
		}
	}
	return &object{"BulkOperation", fields}
}

// bulkFinish is the body of bulk_operations/finish.
type bulkFinish struct {
	GID         string  `json:"admin_graphql_api_id"`
	CompletedAt string  `json:"completed_at"`
	CreatedAt   string  `json:"created_at"`
	ErrorCode   *string `json:"error_code"`
	Status      string  `json:"status"`
	Kind        string  `json:"type"`
}

func (s *Shop) announceBulk(op *bulkOperation) {
	s.newEvent().send("BULK_OPERATIONS_FINISH", bulkFinish{
		GID: op.gid(), CompletedAt: shopTime(op.completedAt), CreatedAt: shopTime(op.createdAt),
		ErrorCode: orNull(strings.ToLower(op.errorCode)), Status: strings.ToLower(op.status), Kind: strings.ToLower(op.kind),
	}, nil)
}

// bulkDocument reads the document of a bulk operation: one operation of a kind,
// without variables where it is a query.
func (s *Shop) bulkDocument(text string, kind ast.Operation) (*ast.OperationDefinition, string) {
	doc := parseDocument(s.schema, text)
	if len(doc.errs) > 0 {
		return nil, doc.errs[0].Message
	}
	op := doc.operation("")
	switch {
	case op == nil:
		return nil, "Bulk operations take a single operation."
	case op.Operation != kind:
		return nil, fmt.Sprintf("The document holds a %s, not a %s.", op.Operation, kind)
	case kind == ast.Query && len(op.VariableDefinitions) > 0:
		return nil, "Bulk queries take no variables."
	}
	return op, ""
}

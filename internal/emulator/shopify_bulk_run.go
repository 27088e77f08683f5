package emulator

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
)

const (
	bulkStep   = 200                  // roots or lines before others get their turn
	bulkTick   = 5 * time.Millisecond // how often the clock is looked at
	bulkWindow = 32                   // lines among which the order is lost
	maxLine    = 16 << 20             // bytes of a line of variables
)

// runBulk works on an operation until it is over or the emulator is closed.
func (s *Shop) runBulk(op *bulkOperation) {
	for {
		s.mu.Lock()
		due := min(bulkStep, op.due(s.bulk, s.options.Now()))
		s.step(op, due)
		over := op.over()
		s.mu.Unlock()
		if over {
			return
		}
		if due < bulkStep {
			select {
			case <-s.stopped:
				return
			case <-time.After(bulkTick):
			}
		}
	}
}

// due is how many roots or lines an operation may do by now.
func (o *bulkOperation) due(life BulkLife, now time.Time) int {
	switch {
	case life.Held || o.over():
		return 0
	case life.Pace == 0:
		return math.MaxInt
	}
	return max(0, int(now.Sub(o.createdAt).Seconds()*life.Pace)-o.done)
}

// step does so many roots or lines of an operation. The caller holds s.mu.
func (s *Shop) step(op *bulkOperation, n int) {
	if op.status == bulkCanceling {
		s.end(op, bulkCanceled, "")
		return
	}
	for ; n > 0 && !op.over(); n-- {
		op.status = bulkRunning
		if f := op.fault; f != nil && int(op.objects) >= f.After {
			s.end(op, f.Status, f.ErrorCode)
			return
		}
		if scope := bulkScope(op.kind); !s.access.may(scope) {
			s.end(op, bulkFailed, "ACCESS_DENIED")
			return
		}
		lines, err := op.work.next(s)
		switch {
		case err != nil:
			s.end(op, bulkFailed, "INTERNAL_SERVER_ERROR")
		case lines == nil:
			s.end(op, bulkCompleted, "")
		default:
			s.write(op, lines)
		}
	}
}

func bulkScope(kind string) string {
	if kind == bulkMutationKind {
		return "write_customers"
	}
	return "read_customers"
}

// write takes lines into the result, in no order: a line waits until others have
// come, and one of them goes first.
func (s *Shop) write(op *bulkOperation, lines [][]byte) {
	op.done++
	if len(lines) > 0 { // unless the index alone still had it
		op.roots++
	}
	op.objects += int64(len(lines))
	op.waiting = append(op.waiting, lines...)
	for len(op.waiting) > bulkWindow {
		s.writeOne(op)
	}
}

func (s *Shop) writeOne(op *bulkOperation) {
	i := s.random.intN(len(op.waiting))
	op.result.line(op.waiting[i])
	op.waiting = slices.Delete(op.waiting, i, i+1)
}

func (s *Shop) end(op *bulkOperation, status, code string) {
	for len(op.waiting) > 0 {
		s.writeOne(op)
	}
	if err := op.result.flush(); err != nil && status == bulkCompleted {
		status, code = bulkFailed, "INTERNAL_SERVER_ERROR" // the machine's disk is full
	}
	op.status, op.errorCode, op.completedAt, op.work = status, code, s.options.Now(), nil
	s.announceBulk(op)
}

// bulkQuery exports customers as they are when their turn comes: a bulk query is
// no snapshot of one moment.
type bulkQuery struct {
	e     *execution
	query search
	node  ast.SelectionSet
	last  int64
	lines [][]byte
}

// newBulkQuery reads a query for customers, with connections of theirs below.
func (s *Shop) newBulkQuery(text string) (*bulkQuery, *userError) {
	invalid := func(message string) *userError {
		return &userError{field: []string{"query"}, code: "INVALID", message: message}
	}
	op, wrong := s.bulkDocument(text, ast.Query)
	if wrong != "" {
		return nil, invalid(wrong)
	}
	e := &execution{schema: s.schema, vars: map[string]any{}}
	roots := e.collect("QueryRoot", op.SelectionSet)
	connections, depth := countConnections(op.SelectionSet)
	switch {
	case connections == 0:
		return nil, invalid("Bulk queries must contain at least one connection.")
	case connections > maxBulkConnections:
		return nil, invalid("Bulk queries cannot contain more than 5 connections.")
	case depth > maxBulkDepth:
		return nil, invalid("Bulk queries cannot contain connections with a nesting depth greater than 2.")
	case len(roots) != 1 || roots[0].fields[0].Name != "customers":
		return nil, invalid("The emulator exports customers alone.")
	}
	args := roots[0].fields[0].ArgumentMap(e.vars)
	return &bulkQuery{e: e, query: parseSearch(textOf(args["query"])), node: nodeSelection(e, "Customer", roots[0])}, nil
}

// countConnections counts the connections of a selection and how deep they nest.
func countConnections(set ast.SelectionSet) (n, depth int) {
	for _, s := range set {
		var inner, below int
		switch s := s.(type) {
		case *ast.Field:
			if inner, below = countConnections(s.SelectionSet); s.Definition != nil && isConnection(s.Definition.Type) {
				inner, below = inner+1, below+1
			}
		case *ast.InlineFragment:
			inner, below = countConnections(s.SelectionSet)
		case *ast.FragmentSpread:
			inner, below = countConnections(s.Definition.SelectionSet)
		}
		n, depth = n+inner, max(depth, below)
	}
	return n, depth
}

// nodeSelection is what a connection asks of its nodes, by nodes or by edges.
func nodeSelection(e *execution, kind string, connection *selected) (set ast.SelectionSet) {
	for _, s := range e.collect(kind+"Connection", connection.set()) {
		switch s.fields[0].Name {
		case "nodes":
			set = append(set, s.set()...)
		case "edges":
			for _, edge := range e.collect(kind+"Edge", s.set()) {
				if edge.fields[0].Name == "node" {
					set = append(set, edge.set()...)
				}
			}
		}
	}
	return set
}

func (q *bulkQuery) next(s *Shop) ([][]byte, error) {
	numbers := s.matching(q.query, max(q.last, q.query.lowestID()), 1)
	if len(numbers) == 0 {
		return nil, nil
	}
	q.last, q.lines = numbers[0], [][]byte{}
	c := s.store.byNumber[q.last]
	if c == nil {
		return q.lines, nil // the index still has it
	}
	err := q.emit(s.customerObject(c), q.node, "")
	return q.lines, err
}

// emit makes a line of an object, and one of each object in its connections.
func (q *bulkQuery) emit(from *object, set ast.SelectionSet, parent string) error {
	line := &orderedJSON{}
	var below []*selected
	for _, field := range q.e.collect(from.typename, set) {
		if def := q.e.schema.Types[from.typename].Fields.ForName(field.fields[0].Name); def != nil && isConnection(def.Type) {
			below = append(below, field)
			continue
		}
		value, _, _ := q.e.field(from, field, []any{field.key})
		line.add(field.key, value)
	}
	if len(q.e.errors) > 0 {
		return q.e.errors[0]
	}
	if parent != "" {
		line.add("__parentId", parent)
	}
	text, err := line.MarshalJSON()
	if err != nil {
		return err
	}
	q.lines = append(q.lines, text)
	for _, field := range below {
		if err := q.emitPage(from, field); err != nil {
			return err
		}
	}
	return nil
}

// emitPage goes through a connection; how many nodes were asked for is ignored.
func (q *bulkQuery) emitPage(from *object, field *selected) error {
	resolve, ok := from.fields[field.fields[0].Name].(resolver)
	if !ok {
		return codedError("NOT_EMULATED", "The emulator does not emulate %s.%s", from.typename, field.fields[0].Name)
	}
	args := field.fields[0].ArgumentMap(q.e.vars)
	delete(args, "last")
	args["first"] = int64(maxNodes)
	page, err := resolve(args)
	if err != nil {
		return err
	}
	for _, node := range asList(page.(*object).fields["nodes"]) {
		child := node.(*object)
		if err := q.emit(child, nodeSelection(q.e, child.typename, field), textOf(from.fields["id"])); err != nil {
			return err
		}
	}
	return nil
}

// bulkMutation runs one mutation for each line of an upload.
type bulkMutation struct {
	op     *ast.OperationDefinition
	lines  *bufio.Scanner
	number int
}

func (s *Shop) newBulkMutation(text, path string) (*bulkMutation, *userError) {
	op, wrong := s.bulkDocument(text, ast.Mutation)
	if wrong == "" && len(op.SelectionSet) != 1 {
		wrong = "Bulk mutations take a single mutation."
	}
	if wrong != "" {
		return nil, &userError{field: []string{"mutation"}, code: "INVALID_MUTATION", message: wrong}
	}
	upload := s.uploads[path]
	if upload == nil || upload.size == 0 {
		return nil, &userError{field: []string{"stagedUploadPath"}, code: "NO_SUCH_FILE", message: "The JSONL file could not be found. Try uploading the file again, and check that you've entered the URL correctly for the stagedUploadPath mutation argument."}
	}
	lines := bufio.NewScanner(upload.reader())
	lines.Buffer(nil, maxLine)
	return &bulkMutation{op: op, lines: lines}, nil
}

func (m *bulkMutation) next(s *Shop) ([][]byte, error) {
	if !m.lines.Scan() {
		return nil, m.lines.Err()
	}
	number := m.number
	m.number++
	answer := &orderedJSON{}
	var given map[string]any
	decoder := json.NewDecoder(bytes.NewReader(m.lines.Bytes()))
	decoder.UseNumber()
	if err := decoder.Decode(&given); err != nil {
		answer.add("errors", []*gqlError{{Message: fmt.Sprintf("Line %d is no JSON object of variables.", number)}})
	} else {
		s.runLine(m.op, given, answer)
	}
	answer.add("__lineNumber", number)
	text, err := answer.MarshalJSON()
	return [][]byte{text}, err
}

// runLine executes a mutation that costs no points.
func (s *Shop) runLine(op *ast.OperationDefinition, given map[string]any, answer *orderedJSON) {
	vars, errs := coerceVariables(s.schema, op, given)
	if len(errs) > 0 {
		answer.add("errors", errs)
		return
	}
	e := &execution{schema: s.schema, vars: vars}
	data, _ := e.run(op, s.root(op))
	answer.add("data", data)
	if len(e.errors) > 0 {
		answer.add("errors", e.errors)
	}
}

// reader reads what was written so far.
func (f *spool) reader() io.ReadSeeker { return io.NewSectionReader(f.file, 0, f.size) }

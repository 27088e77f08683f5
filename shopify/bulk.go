package shopify

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
)

// Bulk operations run at Shopify, beside the shop's points: one reads all
// customers, another runs one mutation for each line of a file. Each is named by
// its document's operation, so that one whose start was not answered, or that
// another process began, is found again.

// BulkOperation is a bulk operation as Shopify tells of it.
type BulkOperation struct {
	ID      string `json:"id"`
	Status  string `json:"status"` // of BulkOperationStatus
	Code    string `json:"errorCode"`
	Objects int64  `json:"objectCount,string"`     // so far
	Roots   int64  `json:"rootObjectCount,string"` // of them, without what hangs on others
	Size    int64  `json:"fileSize,string"`        // of the result in bytes; zero for none
	URL     string `json:"url"`                    // of the result; empty if there is none
	Partial string `json:"partialDataUrl"`         // of what there was when it failed

	Document string `json:"query"`
}

// Over reports that the operation makes no more progress.
func (o BulkOperation) Over() bool {
	return !slices.Contains([]string{"CREATED", "RUNNING", "CANCELING"}, o.Status)
}

// Completed reports that the operation did all it could. That does not mean that
// each line of an import succeeded.
func (o BulkOperation) Completed() bool { return o.Status == "COMPLETED" }

// ErrBulkRefused is a shop that does not let the app run bulk operations, which
// happens with tokens of a user's session. All else may work.
var ErrBulkRefused = errors.New("the shop refuses bulk operations")

// errBusy is the answer while as many operations are under way as may be.
var errBusy = errors.New("as many bulk operations are under way as may be")

// errDenied is Shopify's answer to a field that the app may not use.
var errDenied = errors.New("the app may not do that")

const (
	bulkBusy  = 10 * time.Second // five operations are under way: ask again
	bulkTries = 4                // to start one, when answers are lost

	pollFirst = 200 * time.Millisecond
	pollLast  = 10 * time.Second
)

// StartExport starts the export of all customers, or finds the one of that name,
// which is a GraphQL name. It fails with ErrBulkRefused, or with ErrThrottled
// while as many run as may.
func (t *Target) StartExport(ctx context.Context, name string) (BulkOperation, error) {
	return t.startBulk(ctx, "bulk_export", name, func(context.Context) (map[string]any, error) {
		return map[string]any{"query": t.inlined("export", name)}, nil
	})
}

// StartImport runs customerSet for each line, or finds the import of that name.
// The lines are those of Line; Shopify takes up to 100 MB. It fails as
// StartExport does.
func (t *Target) StartImport(ctx context.Context, name string, lines []byte) (BulkOperation, error) {
	if err := t.define(ctx); err != nil {
		return BulkOperation{}, err
	}
	return t.startBulk(ctx, "bulk_import", name, func(ctx context.Context) (map[string]any, error) {
		path, err := t.upload(ctx, lines)
		return map[string]any{"mutation": t.inlined("import", name), "path": path, "name": name}, err
	})
}

// startBulk looks before each try: an operation that was started unseen would
// otherwise run twice.
func (t *Target) startBulk(ctx context.Context, file, name string, prepare func(context.Context) (map[string]any, error)) (BulkOperation, error) {
	var last error
	for range bulkTries {
		found, err := t.FindBulk(ctx, name)
		if err != nil || found.ID != "" {
			return found, err
		}
		vars, err := prepare(ctx)
		if err != nil {
			return BulkOperation{}, refusedBulk(err)
		}
		started, err := t.tryBulk(ctx, file, vars)
		if last = err; lockstep.KindOf(err) != lockstep.ErrUnknown || err == nil {
			return started, refusedBulk(err)
		}
	}
	return BulkOperation{}, last
}

func (t *Target) tryBulk(ctx context.Context, file string, vars map[string]any) (BulkOperation, error) {
	type payload struct {
		Operation *BulkOperation `json:"bulkOperation"`
		Errors    userErrors     `json:"userErrors"`
	}
	var got struct {
		Query    *payload `json:"bulkOperationRunQuery"`
		Mutation *payload `json:"bulkOperationRunMutation"`
	}
	op := t.ops[file]
	if err := t.client.run(ctx, op, vars, &got); err != nil {
		return BulkOperation{}, err
	}
	p := got.Query
	if p == nil {
		p = got.Mutation
	}
	switch {
	case p == nil || p.Operation == nil && len(p.Errors) == 0:
		return BulkOperation{}, op.fail(lockstep.ErrUnknown, errors.New("the answer holds no operation"))
	case len(p.Errors) == 0:
		return *p.Operation, nil
	case slices.Contains([]string{"OPERATION_IN_PROGRESS", "LIMIT_REACHED"}, p.Errors[0].code()):
		return BulkOperation{}, &lockstep.TargetError{Kind: lockstep.ErrThrottled, After: bulkBusy, Err: op.describe(errBusy)}
	}
	return BulkOperation{}, op.failf(lockstep.ErrTransient, "%s", codeAndPath(p.Errors[0].code(), p.Errors[0].Field))
}

// refusedBulk names the refusal of bulk operations as such; a shop that refuses
// all else too says so at the next request.
func refusedBulk(err error) error {
	if errors.Is(err, errDenied) {
		return fmt.Errorf("%w: %w", ErrBulkRefused, err)
	}
	return err
}

// inlined is a document of a bulk operation, named, and with what are variables
// elsewhere written out, since a bulk query takes none.
func (t *Target) inlined(file, name string) string {
	namespace := "namespace: " + strconv.Quote(t.namespace) + ", "
	if t.namespace == "" {
		namespace = ""
	}
	title := strings.ToUpper(file[:1]) + file[1:]
	text := queryFile(file)
	if t.consent != "" {
		text = askConsent(text)
	}
	return strings.NewReplacer(
		title+"($namespace: String, $key: String!)", name, title+"(", name+"(", ", $namespace: String, $key: String!", "",
		"namespace: $namespace, ", namespace, "$key", strconv.Quote(markKey),
	).Replace(text)
}

// FindBulk finds an operation among the shop's last ones by its name; without an
// ID there is none.
func (t *Target) FindBulk(ctx context.Context, name string) (BulkOperation, error) {
	var got struct {
		Operations struct {
			Nodes []BulkOperation `json:"nodes"`
		} `json:"bulkOperations"`
	}
	if err := t.client.run(ctx, t.ops["bulk_find"], nil, &got); err != nil {
		return BulkOperation{}, refusedBulk(err)
	}
	for _, o := range got.Operations.Nodes {
		_, rest, _ := strings.Cut(o.Document, " ")
		if called, _, _ := strings.Cut(strings.TrimSpace(rest), " "); called == name || strings.HasPrefix(called, name+"(") {
			return o, nil
		}
	}
	return BulkOperation{}, nil
}

// AwaitBulk waits for the end of an operation, telling seen how far it is. It
// looks now and then, which costs a point, and when Options.Wake says so: a
// webhook may be lost.
func (t *Target) AwaitBulk(ctx context.Context, id string, seen func(BulkOperation)) (BulkOperation, error) {
	listening, cancel := context.WithCancel(ctx)
	defer cancel()
	var wake <-chan struct{}
	if t.wake != nil {
		wake = t.wake(listening, id)
	}
	for pause := cmp.Or(t.pollEvery, pollFirst); ; pause = min(2*pause, cmp.Or(t.pollEvery, pollLast)) {
		now, err := t.readBulk(ctx, id)
		if err != nil {
			return BulkOperation{}, err
		}
		if now != nil {
			seen(*now)
		}
		if now != nil && now.Over() {
			return *now, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			err = t.ops["bulk_read"].fail(lockstep.ErrTransient, ctx.Err())
		case <-timer.C:
		case <-wake: // one word is all there is: if the end does not show yet, it is looked for
			wake, pause = nil, pollFirst/2
		}
		timer.Stop()
		if err != nil {
			return BulkOperation{}, err
		}
	}
}

// readBulk looks at an operation; nil for a look that failed for a passing reason.
func (t *Target) readBulk(ctx context.Context, id string) (*BulkOperation, error) {
	var got struct {
		Operation *BulkOperation `json:"bulkOperation"`
	}
	op := t.ops["bulk_read"]
	err := t.client.run(ctx, op, map[string]any{"id": id}, &got)
	switch kind := lockstep.KindOf(err); {
	case err != nil && (ctx.Err() != nil || kind != lockstep.ErrTransient && kind != lockstep.ErrThrottled):
		return nil, err
	case err == nil && got.Operation == nil:
		return nil, op.failf(lockstep.ErrGone, "Shopify no longer knows the operation")
	}
	return got.Operation, nil
}

// stagedTarget says where a file is to be brought.
type stagedTarget struct {
	URL        string `json:"url"`
	Parameters []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"parameters"`
}

// upload brings a file of variables and returns its path.
func (t *Target) upload(ctx context.Context, lines []byte) (path string, err error) {
	op := t.ops["stage"]
	var got struct {
		Payload struct {
			Targets []stagedTarget `json:"stagedTargets"`
			Errors  userErrors     `json:"userErrors"`
		} `json:"stagedUploadsCreate"`
	}
	err = t.client.run(ctx, op, map[string]any{"input": []any{map[string]any{
		"resource": "BULK_MUTATION_VARIABLES", "filename": "lockstep.jsonl", "mimeType": "text/jsonl", "httpMethod": "POST",
		"fileSize": strconv.Itoa(len(lines)),
	}}}, &got)
	switch {
	case err != nil:
		return "", err
	case len(got.Payload.Errors) > 0:
		return "", op.failf(lockstep.ErrTransient, "%s", codeAndPath(got.Payload.Errors[0].code(), got.Payload.Errors[0].Field))
	case len(got.Payload.Targets) != 1:
		return "", op.lost(errors.New("the answer holds no address"))
	}
	place := got.Payload.Targets[0]
	for _, p := range place.Parameters {
		if p.Name == "key" {
			path = p.Value
		}
	}
	for again := range lookAgain { // the same file at the same place: that may be repeated
		if err = t.post(ctx, place, lines); err == nil || sleep(ctx, lookPause<<again) != nil {
			break
		}
	}
	return path, err
}

// post sends the form, the file as its last part. The address is the permission:
// no token goes there.
func (t *Target) post(ctx context.Context, place stagedTarget, lines []byte) error {
	op := t.ops["stage"]
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	var wrong error
	for _, p := range place.Parameters {
		wrong = errors.Join(wrong, form.WriteField(p.Name, p.Value))
	}
	file, err := form.CreateFormFile("file", "lockstep.jsonl")
	if err == nil {
		_, err = file.Write(lines)
	}
	if err = errors.Join(wrong, err, form.Close()); err != nil {
		return op.fail(lockstep.ErrTransient, err) // to memory
	}
	ctx, cancel := context.WithTimeout(ctx, fileTimeout)
	defer cancel()
	res, err := t.fetch(ctx, op, http.MethodPost, place.URL, http.Header{"Content-Type": {form.FormDataContentType()}}, &body)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()                         // of no use
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // so that the connection can be used again
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return op.failf(lockstep.ErrTransient, "the upload was answered with status %d", res.StatusCode)
	}
	return nil
}

const fileTimeout = 5 * time.Minute // for an upload of up to 100 MB

// fetch asks the host of Shopify's files, which is none of the shop's.
func (t *Target) fetch(ctx context.Context, op operation, method, address string, header http.Header, body io.Reader) (*http.Response, error) {
	if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, op.lost(errors.New("the address of the file is none"))
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, op.lost(errors.New("the address of the file is none"))
	}
	req.Header = header
	res, err := t.client.http.Do(req)
	if err != nil {
		return nil, op.failf(lockstep.ErrTransient, "no file: %w", withoutURL(err)) // what is lost is brought or fetched again
	}
	return res, nil
}

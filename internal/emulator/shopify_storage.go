package emulator

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// storagePath is where a shop's files lie: results of bulk operations to fetch,
// staged uploads to bring. At Shopify that is another host, and it needs no token:
// an address is the permission.
const storagePath = "/storage/"

// maxUpload is the size of a file of variables (shopify.dev, "Bulk import data").
const maxUpload = 100 << 20

// spool is a file of lines outside of memory, which is gone with the emulator.
type spool struct {
	file   *os.File
	buffer *bufio.Writer
	size   int64
	err    error
}

func newSpool() (*spool, error) {
	file, err := os.CreateTemp("", "lockstep-emulator-")
	if err != nil {
		return nil, err
	}
	// Without a name it goes with its last user. Where an open file keeps its name
	// it stays for the system to clean up.
	_ = os.Remove(file.Name())
	return &spool{file: file, buffer: bufio.NewWriterSize(file, 64<<10)}, nil
}

func (f *spool) line(text []byte) {
	for _, part := range [][]byte{text, {'\n'}} {
		n, err := f.buffer.Write(part)
		f.size += int64(n)
		f.err = errors.Join(f.err, err)
	}
}

func (f *spool) flush() error { return errors.Join(f.err, f.buffer.Flush()) }

// closeFiles gives back the room of all files.
func (s *Shop) closeFiles() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range s.operations {
		_ = op.result.file.Close() // it has no name any more
	}
	for _, upload := range s.uploads {
		if upload != nil {
			_ = upload.file.Close()
		}
	}
}

func (s *Shop) resultURL(op *bulkOperation) string {
	return fmt.Sprintf("%s%sbulk-%d.jsonl", s.storageURL(), storagePath, op.number)
}

// stagedUploadsCreate gives forms to upload variables with. Other resources, and
// PUT, which Shopify takes for some, are not emulated.
func (s *Shop) stagedUploadsCreate(args map[string]any) (any, error) {
	const payload = "StagedUploadsCreatePayload"
	if s.bulk.Refused {
		return nil, accessDenied("stagedUploadsCreate", "write_customers")
	}
	targets := []*object{}
	for i, entry := range listOf(args["input"]) {
		input, _ := entry.(map[string]any)
		at := []string{"input", strconv.Itoa(i)}
		switch {
		case textOf(input["resource"]) != "BULK_MUTATION_VARIABLES" || textOf(input["httpMethod"]) != http.MethodPost:
			return s.payload(payload, map[string]any{"stagedTargets": nil}, userError{field: at, message: "The emulator takes bulk mutation variables by POST alone"}), nil
		case textOf(input["mimeType"]) != "text/jsonl":
			return s.payload(payload, map[string]any{"stagedTargets": nil}, userError{field: append(at, "mimeType"), message: "text/jsonl is the type of bulk mutation variables"}), nil
		}
		key := fmt.Sprintf("tmp/%d/bulk/%s/%s", s.shopNumber(), s.random.uuid(), textOf(input["filename"]))
		s.uploads[key] = nil
		targets = append(targets, s.stagedTarget(key))
	}
	return s.payload(payload, map[string]any{"stagedTargets": targets}), nil
}

func (s *Shop) stagedTarget(key string) *object {
	var parameters []*object
	for _, p := range [][2]string{
		{"Content-Type", "text/jsonl"}, {"success_action_status", "201"}, {"acl", "private"}, {"key", key},
		{"x-goog-algorithm", "GOOG4-RSA-SHA256"}, {"policy", "emulated"}, {"x-goog-signature", "emulated"},
	} {
		parameters = append(parameters, &object{"StagedUploadParameter", map[string]any{"name": p[0], "value": p[1]}})
	}
	return &object{"StagedMediaUploadTarget", map[string]any{
		"url": s.storageURL() + storagePath, "resourceUrl": nil, "parameters": parameters,
	}}
}

// serveStorage serves a shop's files. Their faults never hold an answer back,
// since it may be large.
func (s *Shopify) serveStorage(w http.ResponseWriter, r *http.Request) {
	name, path := locateShop(r)
	shop := s.Shop(name)
	if shop == nil {
		writeShopError(w, http.StatusNotFound)
		return
	}
	s.Faults.stream(fmt.Sprintf("%s %s storage", shop.name, r.Method), w, r, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			shop.serveResult(w, r, strings.TrimPrefix(path, storagePath))
		case http.MethodPost:
			shop.serveUpload(w, r)
		default:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	})
}

// serveResult serves the result of an operation, or a range of it.
func (s *Shop) serveResult(w http.ResponseWriter, r *http.Request, name string) {
	var content io.ReadSeeker
	var at time.Time
	s.mu.Lock()
	for _, op := range s.operations {
		if op.over() && s.bulkStatus(op) != bulkExpired && name == fmt.Sprintf("bulk-%d.jsonl", op.number) {
			content, at = op.result.reader(), op.completedAt
		}
	}
	s.mu.Unlock()
	if content == nil {
		w.WriteHeader(http.StatusForbidden) // as of an address whose time is over
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("ETag", `"`+name+`"`)
	http.ServeContent(w, r, "", at, content)
}

// serveUpload takes a form whose last part is the file.
func (s *Shop) serveUpload(w http.ResponseWriter, r *http.Request) {
	form, err := r.MultipartReader()
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	key := ""
	for {
		part, err := form.NextPart()
		if err != nil {
			w.WriteHeader(http.StatusBadRequest) // without a file
			return
		}
		if part.FormName() == "file" {
			w.WriteHeader(s.storeUpload(key, part))
			return
		}
		value, err := io.ReadAll(io.LimitReader(part, maxBody))
		if err == nil && part.FormName() == "key" {
			key = string(value)
		}
	}
}

// storeUpload returns the status of the answer.
func (s *Shop) storeUpload(key string, content io.Reader) int {
	s.mu.Lock()
	_, known := s.uploads[key]
	s.mu.Unlock()
	if !known {
		return http.StatusForbidden
	}
	file, err := newSpool()
	if err != nil {
		return http.StatusInternalServerError
	}
	if file.size, err = io.Copy(file.file, io.LimitReader(content, maxUpload+1)); err != nil || file.size > maxUpload {
		_ = file.file.Close()
		return http.StatusBadRequest
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads[key] = file
	return http.StatusCreated
}

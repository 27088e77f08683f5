package emulator

import (
	"fmt"
	"net/http"
	"strconv"
)

// stream serves a request under a fault as Inject does, for answers that are too
// large to be held back.
func (f *Faults) stream(route string, w http.ResponseWriter, r *http.Request, serve http.HandlerFunc) {
	fault := f.draw(route)
	pause(r, fault.Delay)
	told := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	outcome := string(fault.Action) + " "
	switch fault.Action {
	case ActionDropBefore:
		f.count(route, string(fault.Action))
		breakConnection(w)
	case ActionRefuse:
		w.WriteHeader(fault.Status)
		f.count(route, fmt.Sprintf("%s %d", fault.Action, fault.Status))
		return
	case ActionDropAfter:
		told.ResponseWriter = newHeldAnswer()
		serve(told, r)
		f.count(route, outcome+strconv.Itoa(told.status))
		breakConnection(w)
		return
	case ActionTruncate:
		defer func() { f.count(route, outcome+strconv.Itoa(told.status)) }() // it ends by a panic
		serve(&cutWriter{ResponseWriter: told}, r)
	default:
		serve(told, r)
		f.count(route, strconv.Itoa(told.status))
	}
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap serves http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// cutWriter lets half of an answer through, by its Content-Length, and then
// breaks the connection.
type cutWriter struct {
	http.ResponseWriter
	left  int
	began bool
}

func (w *cutWriter) WriteHeader(status int) {
	length, err := strconv.Atoi(w.Header().Get("Content-Length"))
	if err == nil {
		w.left = length / 2
	}
	w.began = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if !w.began {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p[:min(len(p), w.left)])
	w.left -= n
	if err == nil && n < len(p) {
		_ = http.NewResponseController(w.ResponseWriter).Flush() // the half must leave
		panic(http.ErrAbortHandler)
	}
	return n, err
}

package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const controlPrefix = "/_control/"

// controlFunc answers a control request with a body or an error.
type controlFunc func(r *http.Request) (any, error)

// handleControl adds a control route; see docs/EMULATORS.md.
func handleControl(mux *http.ServeMux, method, path string, serve controlFunc) {
	mux.HandleFunc(method+" "+controlPrefix+path, func(w http.ResponseWriter, r *http.Request) {
		body, err := serve(r)
		if err != nil {
			writeJSON(w, controlStatus(err), map[string]string{"error": err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, body)
	})
}

// controlStatus is the status of a service's own error, else 400.
func controlStatus(err error) int {
	var clerk *ClerkError
	var shop *ShopError
	var medusa *MedusaError
	switch {
	case errors.As(err, &clerk):
		return clerk.Status
	case errors.As(err, &shop):
		return shop.Status
	case errors.As(err, &medusa):
		return medusa.Status
	}
	return http.StatusBadRequest
}

// done is the answer of a control route that has nothing to tell.
func done(err error) (any, error) { return map[string]bool{"ok": err == nil}, err }

// controlFaults adds the routes that every emulator has for its faults.
func controlFaults(mux *http.ServeMux, faults *Faults) {
	type rules struct {
		Rules []Rule `json:"rules"`
	}
	show := func() (any, error) { return rules{append([]Rule{}, faults.Rules()...)}, nil }
	handleControl(mux, "GET", "faults", func(*http.Request) (any, error) { return show() })
	handleControl(mux, "PUT", "faults", func(r *http.Request) (any, error) {
		var body rules
		if err := readControl(r, &body); err != nil {
			return nil, err
		}
		if err := faults.Set(body.Rules...); err != nil {
			return nil, err
		}
		return show()
	})
	handleControl(mux, "DELETE", "faults", func(*http.Request) (any, error) { return done(faults.Set()) })
	handleControl(mux, "GET", "requests", func(*http.Request) (any, error) {
		return map[string][]Count{"requests": faults.Counts()}, nil
	})
}

// controlOutbox adds the routes that every emulator with webhooks has for them.
func controlOutbox(mux *http.ServeMux, outbox *Outbox) {
	handleControl(mux, "GET", "messages", func(r *http.Request) (any, error) {
		query := r.URL.Query()
		return map[string][]Message{"messages": selectMessages(outbox.Messages(), State(query.Get("state")), query.Get("type"))}, nil
	})
	handleControl(mux, "POST", "messages/{id}/resend", func(r *http.Request) (any, error) {
		return done(outbox.Resend(r.PathValue("id")))
	})
	handleControl(mux, "POST", "messages/{id}/lose", func(r *http.Request) (any, error) {
		return done(outbox.Lose(r.PathValue("id")))
	})
	handleControl(mux, "POST", "messages/wait", func(r *http.Request) (any, error) { return done(outbox.Wait(r.Context())) })
	handleControl(mux, "PUT", "webhook", func(r *http.Request) (any, error) { return setWebhook(r, outbox) })
	handleControl(mux, "POST", "webhook/hold", func(*http.Request) (any, error) {
		outbox.Hold()
		return done(nil)
	})
	handleControl(mux, "POST", "webhook/release", func(r *http.Request) (any, error) { return release(r, outbox) })
}

// selectMessages keeps the messages of a state and a type, where they are given.
func selectMessages(all []Message, state State, kind string) []Message {
	kept := []Message{}
	for _, m := range all {
		if (state == "" || m.State == state) && (kind == "" || m.Type == kind) {
			kept = append(kept, m.printable())
		}
	}
	return kept
}

// printable makes a body that is no JSON one.
func (m Message) printable() Message {
	if !json.Valid(m.Body) {
		m.Body, _ = json.Marshal(string(m.Body)) // a string always marshals
	}
	return m
}

func setWebhook(r *http.Request, outbox *Outbox) (any, error) {
	var body struct {
		URL       *string `json:"url"`
		Lose      float64 `json:"lose"`
		Duplicate float64 `json:"duplicate"`
	}
	if err := readControl(r, &body); err != nil {
		return nil, err
	}
	if body.URL != nil {
		outbox.SetURL(*body.URL)
	}
	outbox.Disturb(body.Lose, body.Duplicate)
	return done(nil)
}

func release(r *http.Request, outbox *Outbox) (any, error) {
	var body struct {
		IDs     []string `json:"ids"`
		Shuffle bool     `json:"shuffle"`
	}
	if err := readControl(r, &body); err != nil {
		return nil, err
	}
	if body.Shuffle {
		outbox.ReleaseShuffled()
		return done(nil)
	}
	return done(outbox.Release(body.IDs...))
}

// readControl reads a body; an empty one leaves the target as it is. A name
// that is misspelt is an error, not a silent nothing.
func readControl(r *http.Request, into any) error {
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("read the body: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

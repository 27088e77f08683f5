package emulator

import (
	"cmp"
	"net/http"
	"time"
)

// controlRoutes adds the routes for use without Go; see docs/EMULATORS.md.
func (c *Clerk) controlRoutes(mux *http.ServeMux) {
	handleControl(mux, "GET", "settings", c.controlSettings)
	handleControl(mux, "GET", "users/count", func(*http.Request) (any, error) {
		return map[string]int{"count": c.UserCount()}, nil
	})
	handleControl(mux, "POST", "users", c.controlCreate)
	handleControl(mux, "PATCH", "users/{id}", c.controlUpdate)
	handleControl(mux, "DELETE", "users/{id}", func(r *http.Request) (any, error) {
		return done(c.DeleteUser(r.PathValue("id")))
	})
	handleControl(mux, "POST", "users/{id}/token", c.controlToken)
	handleControl(mux, "POST", "events", c.controlEvent)
	handleControl(mux, "POST", "events/example", func(*http.Request) (any, error) { return messageID(c.EmitExample()) })
	handleControl(mux, "POST", "keys", func(*http.Request) (any, error) {
		id, err := c.RotateKey(nil)
		return map[string]string{"kid": id}, err
	})
	handleControl(mux, "DELETE", "keys/{kid}", func(r *http.Request) (any, error) {
		return done(c.RemoveKey(r.PathValue("kid")))
	})
	controlFaults(mux, c.Faults)
	controlOutbox(mux, c.Webhooks)
}

func (c *Clerk) controlSettings(*http.Request) (any, error) {
	settings := map[string]string{}
	for _, setting := range c.Settings() {
		settings[setting.Name] = setting.Value
	}
	return settings, nil
}

func (c *Clerk) controlCreate(r *http.Request) (any, error) {
	var spec UserSpec
	if err := readControl(r, &spec); err != nil {
		return nil, err
	}
	return c.CreateUser(spec)
}

func (c *Clerk) controlUpdate(r *http.Request) (any, error) {
	var change UserChange
	if err := readControl(r, &change); err != nil {
		return nil, err
	}
	return c.UpdateUser(r.PathValue("id"), change)
}

func (c *Clerk) controlEvent(r *http.Request) (any, error) {
	var event Event
	if err := readControl(r, &event); err != nil {
		return nil, err
	}
	return messageID(c.Emit(event))
}

func messageID(id string, err error) (any, error) { return map[string]string{"id": id}, err }

// controlToken mints a token. A null in header or claims removes an entry.
func (c *Clerk) controlToken(r *http.Request) (any, error) {
	var body struct {
		Shape     string         `json:"shape"`
		Session   string         `json:"session_id"`
		Party     string         `json:"azp"`
		IssuedAt  int64          `json:"iat"`        // seconds
		LifetimeS int64          `json:"lifetime_s"` // seconds
		KeyID     string         `json:"kid"`
		Header    map[string]any `json:"header"`
		Claims    map[string]any `json:"claims"`
	}
	if err := readControl(r, &body); err != nil {
		return nil, err
	}
	spec := TokenSpec{
		UserID: r.PathValue("id"), Shape: cmp.Or(r.URL.Query().Get("shape"), body.Shape),
		SessionID: body.Session, AuthorizedParty: body.Party, KeyID: body.KeyID,
		Lifetime: time.Duration(body.LifetimeS) * time.Second,
		Header:   body.Header, Claims: body.Claims,
	}
	if body.IssuedAt != 0 {
		spec.IssuedAt = time.Unix(body.IssuedAt, 0)
	}
	token, err := c.MintToken(spec)
	return map[string]string{"token": token}, err
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/jackc/pgx/v5"
)

// furnish makes, by Medusa's own API, what a shop has: a secret key, and a
// region, without which there is no cart. Medusa's migrations made a
// publishable key.
func (m *medusa) furnish(ctx context.Context) error {
	var session struct{ Token string }
	login := map[string]string{"email": email, "password": m.password}
	if err := m.post(ctx, "/auth/user/emailpass", "", login, &session); err != nil {
		return err
	}
	var made struct {
		Key struct{ Token string } `json:"api_key"`
	}
	if err := m.post(ctx, "/admin/api-keys", session.Token, map[string]string{"title": "lockstep", "type": "secret"}, &made); err != nil {
		return err
	}
	m.key = made.Key.Token
	region := map[string]any{"name": "US", "currency_code": "usd", "countries": []string{"us"}}
	if err := m.post(ctx, "/admin/regions", session.Token, region, &struct{}{}); err != nil {
		return err
	}
	return m.sql(ctx, schema, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, `select token from `+schema+`.api_key where type = 'publishable' limit 1`).Scan(&m.public)
	})
}

func (m *medusa) post(ctx context.Context, path, token string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // read to its end
	data, err = io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", res.StatusCode, tail(data))
	}
	if err == nil {
		err = json.Unmarshal(data, answer)
	}
	if err != nil {
		return fmt.Errorf("POST %s: %w", path, err)
	}
	return nil
}

// Package standin makes an empty database look like the one a user brings: a
// Supabase project, with Medusa's tables beside it. The demo and the tests use
// it; README.md says where the SQL comes from.
package standin

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed supabase.sql
var supabase string

//go:embed medusa.sql
var medusa string

// Owner is the role that owns the application's objects on Supabase. It is no
// superuser, and Lockstep's migrations run as it.
const Owner = "postgres"

// Options are the ways in which users' databases differ.
type Options struct {
	AutoGrants   bool   // Supabase's rule before 2026: new objects are granted to the API's roles
	MedusaSchema string // empty for none
}

// Load fills the empty database that url, a superuser's, names.
func Load(ctx context.Context, url string, o Options) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }() // everything is committed by then
	mode := "off"
	if o.AutoGrants {
		mode = "on"
	}
	run := []string{fmt.Sprintf("set supabase_baseline.auto_expose = '%s'; set client_min_messages = error", mode), supabase}
	if o.MedusaSchema != "" {
		schema := pgx.Identifier{o.MedusaSchema}.Sanitize()
		run = append(run, "set role "+Owner, "create schema if not exists "+schema,
			strings.ReplaceAll(medusa, "medusa.", schema+"."))
	}
	for _, sql := range run {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("load stand-in: %w", err)
		}
	}
	return nil
}

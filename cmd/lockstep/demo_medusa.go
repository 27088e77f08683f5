package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep/internal/emulator"
)

// startMedusa emulates Medusa's Admin API if the demo goes through it; otherwise
// Medusa is its tables.
func (d *demo) startMedusa(ctx context.Context) error {
	if d.mode != "api" {
		return nil
	}
	d.medusa = emulator.NewMedusa(emulator.MedusaOptions{})
	url, stop, err := serveEmulator(ctx, d.medusa, "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.later(func() error { stop(); return nil })
	d.medusa.SetBaseURL(url)
	return nil
}

// medusaSettings point Lockstep at the demo's Medusa.
func (d *demo) medusaSettings() []emulator.Setting {
	if d.medusa == nil {
		return []emulator.Setting{{Name: "MEDUSA_MODE", Value: "database"}}
	}
	return d.medusa.Settings()
}

// medusaEnv is the same, before a command.
func (d *demo) medusaEnv() string {
	var all []string
	for _, s := range d.medusaSettings() {
		all = append(all, s.String())
	}
	return strings.Join(all, " ")
}

// seed puts into Medusa what it held before Lockstep came.
func (d *demo) seed(ctx context.Context, p *person) error {
	if p.guest == "" {
		return nil
	}
	email := fmt.Sprintf(p.guest, strings.TrimPrefix(p.email, "user"))
	p.seeded = "cus_before_" + p.email
	if d.medusa != nil {
		c, err := d.medusa.PutCustomer(emulator.MedusaSpec{Email: email, HasAccount: p.account, CompanyName: "kept"})
		if err != nil {
			return err
		}
		p.seeded = c.ID
	}
	_, err := d.db.Exec(ctx, `
		with c as (
		  insert into medusa.customer (id, email, has_account, company_name) values ($1, $2, $3, 'kept') returning id
		)
		insert into medusa.customer_address (id, customer_id, address_1) select 'cuaddr_' || id, id, 'kept' from c`, p.seeded, email, p.account)
	return err
}

// deletedInMedusa deletes the person's customer in Medusa's admin.
func (d *demo) deletedInMedusa(ctx context.Context, p *person) error {
	if d.medusa != nil {
		for _, c := range d.medusa.Customers() {
			if c.Email != nil && *c.Email == p.email {
				return d.medusa.DeleteCustomer(c.ID)
			}
		}
	}
	_, err := d.db.Exec(ctx, `update medusa.customer set deleted_at = now() where email = $1`, p.email)
	return err
}

// copyMedusa writes what the emulated Medusa holds into Medusa's tables, where the
// expectations are checked. Lockstep itself does not see them.
func (d *demo) copyMedusa(ctx context.Context) error {
	if d.medusa == nil {
		return nil
	}
	return pgx.BeginFunc(ctx, d.db, func(tx pgx.Tx) error {
		var batch pgx.Batch
		batch.Queue(`update medusa.customer set deleted_at = coalesce(deleted_at, now())`) // those that live come back
		for _, c := range d.medusa.Customers() {
			batch.Queue(`
				insert into medusa.customer (id, email, first_name, last_name, phone, company_name, has_account, metadata)
				values ($1, $2, $3, $4, $5, $6, $7, nullif($8::jsonb, 'null'))
				on conflict (id) do update set email = excluded.email, first_name = excluded.first_name, last_name = excluded.last_name,
				  phone = excluded.phone, company_name = excluded.company_name, metadata = excluded.metadata, deleted_at = null`,
				c.ID, c.Email, c.FirstName, c.LastName, c.Phone, c.CompanyName, c.HasAccount, c.Metadata)
		}
		return tx.SendBatch(ctx, &batch).Close()
	})
}

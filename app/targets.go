package app

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/medusa"
)

// targets is the list of targets: a new kind of store is one package and one
// line here.
func targets(c Config, db *pgxpool.Pool) (list []lockstep.Target) {
	if c.MedusaMode == "database" {
		list = append(list, medusa.NewDatabase(db))
	}
	return list
}

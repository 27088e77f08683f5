package app

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/postgres"
	"github.com/lockstephq/lockstep/medusa"
	"github.com/lockstephq/lockstep/shopify"
)

// makeTargets is the list of targets: a new kind of store is one package and a
// few lines here. Buckets are what all nodes together may ask of the shops.
func (a *App) makeTargets(buckets *postgres.Buckets) (list []lockstep.Target, err error) {
	switch a.config.MedusaMode {
	case "database":
		list = append(list, medusaDatabase(a.config, a.medusa))
	case "api":
		api, err := a.config.MedusaAPI.target()
		if err != nil {
			return nil, err
		}
		list = append(list, api)
	}
	for _, s := range a.config.Shops {
		shop, err := a.shopTarget(s, buckets)
		if err != nil {
			return nil, err
		}
		list = append(list, shop)
	}
	return list, nil
}

func medusaDatabase(c Config, db *pgxpool.Pool) *medusa.Database {
	target := medusa.NewDatabase(db).WithOnDelete(c.MedusaOnDelete)
	if c.MedusaAccounts == "clerk" {
		return target.WithAccounts()
	}
	return target
}

// onDelete is what becomes of deleted users' customers, by target.
func onDelete(c Config) map[string]lockstep.OnDelete {
	policies := map[string]lockstep.OnDelete{"medusa": c.MedusaOnDelete}
	for _, s := range c.Shops {
		policies["shopify:"+s.Shop] = s.OnDelete
	}
	return policies
}

// newBuckets begin as those of Shopify's Standard plan; answers tell the rest.
func newBuckets(pool *pgxpool.Pool) *postgres.Buckets {
	return postgres.NewBuckets(pool, shopify.StandardCapacity, shopify.StandardRate)
}

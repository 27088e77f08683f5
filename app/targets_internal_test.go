package app

import (
	"testing"

	"github.com/lockstephq/lockstep"
)

// TestMedusaAccounts: the setting reaches the target.
func TestMedusaAccounts(t *testing.T) {
	t.Parallel()
	for accounts, want := range map[string]bool{"": false, "off": false, "clerk": true} {
		target := medusaDatabase(Config{MedusaMode: "database", MedusaAccounts: accounts}, nil)
		if got := target.Fit(lockstep.Customer{}).Account; got != want {
			t.Errorf("MEDUSA_ACCOUNTS=%q: accounts=%v, want %v", accounts, got, want)
		}
	}
}

package targettest

import (
	"context"
	"errors"

	"github.com/lockstephq/lockstep"
)

// carelessWithChoices fail a person who chose an account for a user, or the user
// whose account it is.
func carelessWithChoices() map[string]breakage {
	unlessAccount := func(m *mutant, do func(now, want lockstep.Customer) (lockstep.Customer, error)) {
		m.update = func(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
			if r, live, _ := m.Get(ctx, now.ID); live && r.Account {
				return do(now, want)
			}
			return m.Fake.Update(ctx, now, want)
		}
	}
	const chosen = "an account that a person chose gets the mark"
	return map[string]breakage{
		"refuses every account": {chosen, func(m *mutant) {
			unlessAccount(m, func(now, want lockstep.Customer) (lockstep.Customer, error) {
				return lockstep.Customer{}, taken("an account")
			})
		}},
		"takes a second customer for one user": {chosen, func(m *mutant) {
			unlessAccount(m, func(now, want lockstep.Customer) (lockstep.Customer, error) {
				return m.overwrite(now.ID, func(r *Record) {
					r.UserID, r.FirstName = want.UserID, want.FirstName
					set(&r.Email, now.Email, lockstep.NormalEmail(want.Email))
				})
			})
		}},
		"makes a guest of the account": {chosen, func(m *mutant) {
			unlessAccount(m, func(now, want lockstep.Customer) (lockstep.Customer, error) {
				return m.overwrite(now.ID, func(r *Record) {
					*r = Record{Customer: want, Foreign: r.Foreign}
					r.ID, r.Account = now.ID, false
				})
			})
		}},
		"takes another user's account": {"another user's account is not updated", func(m *mutant) {
			unlessAccount(m, func(now, want lockstep.Customer) (lockstep.Customer, error) {
				return m.claim(context.Background(), now, want)
			})
		}},
		"marks an account twice when the answer is lost": {"Update of a chosen account, " + string(FaultLostAfter), func(m *mutant) {
			m.update = func(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
				c, err := m.Fake.Update(ctx, now, want)
				if errors.Is(err, lockstep.ErrUnknown) {
					want.Email = ""
					return m.insert(want)
				}
				return c, err
			}
		}},
		"looks before it takes an account": {"one account updated for many users at once", func(m *mutant) {
			met := meeting(crowd)
			m.update = func(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
				met()
				return m.claim(ctx, now, want)
			}
		}},
	}
}

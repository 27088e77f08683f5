package targettest

import (
	"context"

	"github.com/lockstephq/lockstep"
)

// carelessWrites make customers as nobody wanted them.
func carelessWrites() map[string]breakage {
	return map[string]breakage{
		"cuts a little every time": {"what fits is what arrives", func(m *mutant) {
			m.fit = func(want lockstep.Customer) lockstep.Customer {
				if n := len(want.LastName); n > 100 {
					want.LastName = want.LastName[:n-2]
				}
				return want
			}
		}},
		"cuts without saying so": {"unusual text arrives as far as it fits", func(m *mutant) {
			m.create = func(ctx context.Context, want lockstep.Customer) (lockstep.Customer, error) {
				want.LastName = want.LastName[:min(40, len(want.LastName))]
				return m.Fake.Create(ctx, want)
			}
		}},
		"creates twice": {"a second Create makes no second customer", func(m *mutant) {
			m.create = func(_ context.Context, want lockstep.Customer) (lockstep.Customer, error) { return m.insert(want) }
		}},
		"creates unmarked": {"a new user gets one marked customer", func(m *mutant) {
			m.create = func(_ context.Context, want lockstep.Customer) (lockstep.Customer, error) {
				want.UserID = ""
				return m.insert(want)
			}
		}},
		"creates beside a holder of the e-mail": {"an account's e-mail is taken", func(m *mutant) {
			m.create = func(_ context.Context, want lockstep.Customer) (lockstep.Customer, error) { return m.insert(want) }
		}},
	}
}

// carelessUpdates take or change customers as nobody wanted it.
func carelessUpdates() map[string]breakage {
	return map[string]breakage{
		"adopts accounts": {"an account is not adopted", func(m *mutant) {
			m.adopt = func(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
				return m.Fake.Update(ctx, now, want)
			}
		}},
		"believes what was seen when adopting": {"a guest that became an account is not adopted", func(m *mutant) {
			m.adopt = func(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
				if now.Account {
					return lockstep.Customer{}, taken("the guest")
				}
				return m.Fake.Update(ctx, now, want)
			}
		}},
		"adopts whoever has the id": {"a guest that got another e-mail is not adopted", func(m *mutant) {
			m.adopt = func(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
				if r, live, _ := m.Get(ctx, now.ID); live && !r.Account && r.UserID == "" {
					return m.Fake.Update(ctx, now, want)
				}
				return m.Fake.Adopt(ctx, now, want)
			}
		}},
		"ignores the mark when adopting": {"another user's guest is not adopted", func(m *mutant) {
			m.adopt = m.claim
		}},
		"ignores the mark when updating": {"another user's customer is not updated", func(m *mutant) {
			m.update = m.claim
		}},
		"adopts by making a new record": {"a guest is adopted with all it has", func(m *mutant) {
			m.adopt = func(_ context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
				delete(m.records, now.ID)
				return m.insert(want)
			}
		}},
		"wipes foreign fields": {"a guest is adopted with all it has", func(m *mutant) {
			m.update = func(_ context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
				want.ID = now.ID
				return m.overwrite(now.ID, func(r *Record) { *r = Record{Customer: want} })
			}
		}},
		"wipes names": {"empty fields leave what is there", func(m *mutant) {
			m.update = func(_ context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
				want.ID = now.ID
				return m.overwrite(now.ID, func(r *Record) { r.Customer = want })
			}
		}},
		"writes without need": {"nothing to change writes nothing", func(m *mutant) {
			m.update = func(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
				if _, err := m.Fake.Update(ctx, now, want); err != nil {
					return lockstep.Customer{}, err
				}
				return m.overwrite(now.ID, func(*Record) {})
			}
		}},
		"forgets to mark a linked customer": {"an unmarked linked customer gets the mark", func(m *mutant) {
			m.update = func(_ context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
				return m.overwrite(now.ID, func(r *Record) { r.Email = want.Email })
			}
		}},
	}
}

// claim writes over anybody's record.
func (m *mutant) claim(_ context.Context, now, want lockstep.Customer) (lockstep.Customer, error) {
	return m.overwrite(now.ID, func(r *Record) {
		want.ID = now.ID
		r.Customer = want
	})
}

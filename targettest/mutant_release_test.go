package targettest

import (
	"context"

	"github.com/lockstephq/lockstep"
)

// carelessReleases let go of the wrong customers, or say so wrongly.
func carelessReleases() map[string]breakage {
	return map[string]breakage{
		"deletes when releasing": {"Release takes the mark off and no more", func(m *mutant) {
			deletesWhen(m, func(Record, lockstep.OnDelete) bool { return true })
		}},
		"anonymises when releasing": {"Release takes the mark off and no more", overReleased(func(r *Record, _ lockstep.OnDelete) { r.Email = "" })},
		"releases another's":        {"Release leaves another's mark", overReleased(func(*Record, lockstep.OnDelete) {})},
		"deletes another's": {"Release leaves another's mark", func(m *mutant) {
			deletesWhen(m, func(r Record, how lockstep.OnDelete) bool { return how == lockstep.OnDeleteDelete })
		}},
		"fails to release what is gone": {"a deleted customer is not found", overReleased(func(*Record, lockstep.OnDelete) {})},
		"anonymises half": {"Release anonymises what Lockstep wrote and no more", overReleased(func(r *Record, how lockstep.OnDelete) {
			phone := r.Phone
			blanked(r, how)
			r.Phone = phone
		})},
	}
}

// carelessFarewells go further than they may, or not as far as they say.
func carelessFarewells() map[string]breakage {
	return map[string]breakage{
		"anonymises what is not ours": {"Release anonymises what Lockstep wrote and no more", overReleased(func(r *Record, how lockstep.OnDelete) {
			blanked(r, how)
			r.Foreign = nil
		})},
		"anonymises and leaves the mark": {"Release anonymises what Lockstep wrote and no more", func(m *mutant) {
			m.release = func(_ context.Context, now lockstep.Customer, how lockstep.OnDelete) (lockstep.OnDelete, error) {
				_, err := m.overwrite(now.ID, func(r *Record) { blanked(r, how) })
				return how, err
			}
		}},
		"gives all who are anonymised one e-mail": {"Release anonymises what Lockstep wrote and no more", func(m *mutant) {
			m.release = func(_ context.Context, now lockstep.Customer, how lockstep.OnDelete) (lockstep.OnDelete, error) {
				if m.held("deleted@deleted.invalid", now.ID) {
					return "", taken("the e-mail")
				}
				_, err := m.overwrite(now.ID, func(r *Record) { blanked(r, how); r.UserID, r.Email = "", "deleted@deleted.invalid" })
				return how, err
			}
		}},
		"says that it deleted": {"Release deletes", overReleased(blanked)},
		"deletes who had orders": {"Release keeps who ever had an order", func(m *mutant) {
			deletesWhen(m, func(r Record, how lockstep.OnDelete) bool { return how == lockstep.OnDeleteDelete })
		}},
		"forgets that it keeps who had orders": {"Release keeps who ever had an order", func(m *mutant) {
			m.release = func(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (lockstep.OnDelete, error) {
				done, err := m.Fake.Release(ctx, now, how)
				if done != "" {
					done = how
				}
				return done, err
			}
		}},
		"does nothing without the mark": {"Release goes on with who was let go before", func(m *mutant) {
			m.release = func(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (lockstep.OnDelete, error) {
				if now.UserID == "" {
					return "", nil
				}
				return m.Fake.Release(ctx, now, how)
			}
		}},
		"deletes unmarked accounts": {"Release leaves an account that carries no mark", func(m *mutant) {
			deletesWhen(m, func(r Record, how lockstep.OnDelete) bool { return how == lockstep.OnDeleteDelete && r.UserID == "" })
		}},
		"anonymises accounts": {"Release only lets go of an account that may be another's", overReleased(blanked)},
	}
}

// overReleased has a Release write over whatever the record is, as careless code
// does.
func overReleased(change func(r *Record, how lockstep.OnDelete)) func(*mutant) {
	return func(m *mutant) {
		m.release = func(_ context.Context, now lockstep.Customer, how lockstep.OnDelete) (lockstep.OnDelete, error) {
			_, err := m.overwrite(now.ID, func(r *Record) { r.UserID, r.Account, r.Proven = "", false, false; change(r, how) })
			return how, err
		}
	}
}

func deletesWhen(m *mutant, when func(r Record, how lockstep.OnDelete) bool) {
	m.release = func(ctx context.Context, now lockstep.Customer, how lockstep.OnDelete) (lockstep.OnDelete, error) {
		if r, live, _ := m.Get(ctx, now.ID); live && when(r, how) {
			return how, m.Delete(ctx, now.ID)
		}
		return m.Fake.Release(ctx, now, how)
	}
}

func blanked(r *Record, how lockstep.OnDelete) {
	if how != lockstep.OnDeleteKeep {
		r.Email, r.FirstName, r.LastName, r.Phone = "", "", "", ""
	}
}

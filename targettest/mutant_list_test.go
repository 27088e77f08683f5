package targettest

import (
	"context"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/lockstephq/lockstep"
)

const (
	eachListed   = "all customers are listed, each once"
	fullPage     = "a page holds as many as may be"
	listsOn      = "a list goes on while customers come and change"
	eachExported = "all customers are exported, each once"
	exportsOnAt  = "an export goes on from its place"
)

func carelessLists() map[string]breakage {
	// listing changes what the fake answers.
	listing := func(check string, change func(m *mutant, after string, limit int, page []lockstep.Customer) []lockstep.Customer) breakage {
		return breakage{check, func(m *mutant) {
			m.list = func(ctx context.Context, after string, limit int) ([]lockstep.Customer, error) {
				page, err := m.Fake.List(ctx, after, limit)
				return change(m, after, limit, page), err
			}
		}}
	}
	return map[string]breakage{
		"lists the last of a page again": {eachListed, func(m *mutant) {
			m.list = func(ctx context.Context, after string, limit int) ([]lockstep.Customer, error) {
				all, err := m.Fake.List(ctx, "", mostListed)
				at := slices.IndexFunc(all, func(c lockstep.Customer) bool { return c.ID >= after })
				return all[max(0, at):min(max(0, at)+limit, len(all))], err
			}
		}},
		"lists in another order each time": listing(eachListed, func(_ *mutant, _ string, _ int, page []lockstep.Customer) []lockstep.Customer {
			rand.Shuffle(len(page), func(i, j int) { page[i], page[j] = page[j], page[i] })
			return page
		}),
		"lists one more than asked for": {fullPage, func(m *mutant) {
			m.list = func(ctx context.Context, after string, limit int) ([]lockstep.Customer, error) {
				return m.Fake.List(ctx, after, limit+1)
			}
		}},
		"lists fewer and means more": {fullPage, func(m *mutant) {
			m.list = func(ctx context.Context, after string, limit int) ([]lockstep.Customer, error) {
				return m.Fake.List(ctx, after, min(limit, 200))
			}
		}},
		"lists without marks": listing(eachListed, func(_ *mutant, _ string, _ int, page []lockstep.Customer) []lockstep.Customer {
			for i := range page {
				page[i].UserID = ""
			}
			return page
		}),
		"lists who is marked alone": listing(eachListed, func(_ *mutant, _ string, _ int, page []lockstep.Customer) []lockstep.Customer {
			return slices.DeleteFunc(page, func(c lockstep.Customer) bool { return c.UserID == "" })
		}),
		"lists who was deleted": {eachListed, func(m *mutant) {
			m.list = func(ctx context.Context, after string, limit int) ([]lockstep.Customer, error) {
				page, err := m.Fake.List(ctx, after, limit)
				if len(page) < limit {
					page = append(page, lockstep.Customer{ID: "fake_99999999"})
				}
				return page, err
			}
		}},
		"begins anew where the last one is gone": {"a list goes on after who was deleted", func(m *mutant) {
			m.list = func(ctx context.Context, after string, limit int) ([]lockstep.Customer, error) {
				if _, live, _ := m.Get(ctx, after); !live {
					after = ""
				}
				return m.Fake.List(ctx, after, limit)
			}
		}},
		"lists in the order of the last change": {listsOn, func(m *mutant) {
			m.list = func(ctx context.Context, after string, limit int) ([]lockstep.Customer, error) {
				all, err := m.Fake.List(ctx, "", 1000)
				version := func(c lockstep.Customer) int { n, _ := strconv.Atoi(m.records[c.ID].Version); return n }
				slices.SortFunc(all, func(a, b lockstep.Customer) int { return version(a) - version(b) })
				at := 1 + slices.IndexFunc(all, func(c lockstep.Customer) bool { return c.ID == after })
				return all[at:min(at+limit, len(all))], err
			}
		}},
		"lists nobody when it is refused": {"listing under faults", func(m *mutant) {
			m.list = func(ctx context.Context, after string, limit int) ([]lockstep.Customer, error) {
				page, _ := m.Fake.List(ctx, after, limit)
				return page, nil
			}
		}},
	}
}

func carelessExports() map[string]breakage {
	type pages = iter.Seq2[lockstep.ExportPage, error]
	exporting := func(check string, change func(e lockstep.Export, page lockstep.ExportPage, err error) (lockstep.ExportPage, error)) breakage {
		return breakage{check, func(m *mutant) {
			m.export = func(_ context.Context, e lockstep.Export, all pages) pages {
				return func(yield func(lockstep.ExportPage, error) bool) {
					for page, err := range all {
						if !yield(change(e, page, err)) {
							return
						}
					}
				}
			}
		}}
	}
	return map[string]breakage{
		"exports without the last": exporting(eachExported, func(_ lockstep.Export, p lockstep.ExportPage, err error) (lockstep.ExportPage, error) {
			p.Customers = p.Customers[:max(0, len(p.Customers)-1)]
			return p, err
		}),
		"exports twice": exporting(eachExported, func(_ lockstep.Export, p lockstep.ExportPage, err error) (lockstep.ExportPage, error) {
			p.Customers = append(p.Customers, p.Customers...)
			return p, err
		}),
		"exports less than it shows": exporting(eachExported, func(_ lockstep.Export, p lockstep.ExportPage, err error) (lockstep.ExportPage, error) {
			for i := range p.Customers {
				p.Customers[i].LastName = ""
			}
			return p, err
		}),
		"forgets the place": {exportsOnAt, func(m *mutant) {
			m.export = func(ctx context.Context, e lockstep.Export, _ pages) pages {
				e.Place = ""
				return m.Exporting.Export(ctx, e)
			}
		}},
		"exports anew under an old name": {"an export is found again by its name", func(m *mutant) {
			m.export = func(ctx context.Context, e lockstep.Export, _ pages) pages {
				e.Name += string(rune('a' + len(m.Begun())))
				return m.Exporting.Export(ctx, e)
			}
		}},
		"yields half of a cancelled export": {"a cancelled export is whole or gone", func(m *mutant) {
			m.Page = 3
			seen := map[string]bool{}
			m.export = func(_ context.Context, e lockstep.Export, all pages) pages {
				return func(yield func(lockstep.ExportPage, error) bool) {
					for page, err := range all {
						if !yield(page, err) || seen[e.Name] {
							break
						}
					}
					seen[e.Name] = true
				}
			}
		}},
		"exports nobody when it is refused": exporting("exporting under faults", func(_ lockstep.Export, p lockstep.ExportPage, _ error) (lockstep.ExportPage, error) {
			return p, nil
		}),
	}
}

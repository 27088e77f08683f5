package main

import (
	"context"
	"fmt"

	"github.com/lockstephq/lockstep/internal/emulator"
)

// person is one user of the demo, from sign-up to the end.
type person struct {
	*part
	n      int
	id     string            // Clerk's
	email  string            // the one that counts in the end
	seeded string            // the customer that Medusa held before, if any; kept if it is adopted or changed
	inShop map[string]string // the same, by shop
}

// part is a kind of difficulty, and what must have come of it.
type part struct {
	title   string // what must be true in the end
	count   int
	account bool   // Medusa holds an account with the e-mail
	guest   string // Medusa, and each shop, holds a guest with this address; %s the rest of the e-mail

	// What the shops must make of it.
	unproved   bool // the e-mail is never verified
	noEmail    bool
	phone      bool // a valid number
	phoneTaken bool // which another customer has
	leaves     bool // is deleted

	user   func(p *person) emulator.UserSpec
	change func(ctx context.Context, d *demo, p *person) error // the second act

	// right is an SQL expression over: q (id, email, seeded of the person), p
	// (the profile), l (the link), c (the link's live customer), s (the seeded
	// customer), marks (live customers that carry the user's mark).
	right string
}

// linkedRight is what most must come to.
const linkedRight = `l.status = 'linked' and marks = 1 and p.medusa_customer_id = c.id and c.email = q.email`

func verified(p *person) emulator.UserSpec {
	return emulator.UserSpec{FirstName: "Ada", LastName: fmt.Sprint(p.n), Email: p.email, Verified: true}
}

// cast lists everyone: 255 users and every hard case.
func cast() (people []*person) {
	for i, p := range append(plainParts(), hardParts()...) {
		for n := range p.count {
			people = append(people, &person{part: &p, n: n, email: fmt.Sprintf("user%d.%d@example.test", i, n)})
		}
	}
	return people
}

func plainParts() []part {
	return []part{
		{title: "ordinary users have one customer, marked and right", count: 90, user: verified, change: renameTwice,
			right: linkedRight + ` and c.first_name = 'Ada' and c.last_name = 'Newest' || p.id`},
		{title: "a primary e-mail that is not the first counts", count: 15, right: linkedRight,
			user: func(p *person) emulator.UserSpec {
				u := verified(p)
				u.ExtraEmails = []emulator.EmailSpec{{Address: "not." + p.email, Verified: true}}
				return u
			}},
		{title: "mixed case in Clerk is lower case in Medusa", count: 15, right: linkedRight + ` and p.email <> c.email`,
			user: func(p *person) emulator.UserSpec {
				u := verified(p)
				u.Email = fmt.Sprintf("USER%s", p.email[len("user"):])
				return u
			}},
		{title: "users without an e-mail have a customer without one", count: 10, noEmail: true, phone: true,
			user: func(p *person) emulator.UserSpec {
				return emulator.UserSpec{FirstName: "Phone", Phone: phoneOf(p), PhoneVerified: true}
			},
			right: `l.status = 'linked' and marks = 1 and c.email is null and c.phone = p.phone`},
		{title: "a number that another customer has holds nothing up", count: 5, phoneTaken: true, right: linkedRight + ` and c.phone = p.phone`,
			user: func(p *person) emulator.UserSpec {
				u := verified(p)
				p.n += 50 // numbers of their own
				u.Phone, u.PhoneVerified = phoneOf(p), true
				return u
			}},
		{title: "a number that is none holds nothing up", count: 5, right: linkedRight,
			user: func(p *person) emulator.UserSpec {
				u := verified(p)
				u.Phone, u.PhoneVerified = fmt.Sprintf("+1555%d", p.n), true
				return u
			}},
		{title: "an unverified e-mail is shown to no store", count: 10, unproved: true,
			user: func(p *person) emulator.UserSpec {
				return emulator.UserSpec{FirstName: "Uma", Email: p.email}
			},
			right: `l.status = 'linked' and marks = 1 and c.email is null and p.email = q.email and not p.email_verified`},
		{title: "names of 300 characters, quotes and NUL arrive", count: 5, right: linkedRight + ` and length(c.first_name) >= 300`,
			user: func(p *person) emulator.UserSpec {
				u := verified(p)
				u.FirstName = fmt.Sprintf("%0300d'\"\\\x00", p.n)
				return u
			}},
	}
}

func hardParts() []part {
	return []part{
		{title: "guests are adopted: same id, company and address kept", count: 25, guest: "user%s", user: verified,
			right: linkedRight + ` and c.id = q.seeded and c.company_name = 'kept'
				and exists (select 1 from medusa.customer_address a where a.customer_id = c.id)`},
		{title: "guests typed in MIXED case are adopted, too", count: 10, guest: "USER%s", user: verified,
			right: linkedRight + ` and c.id = q.seeded`},
		{title: "guests of unverified e-mails are not adopted", count: 10, guest: "user%s", unproved: true,
			user:  func(p *person) emulator.UserSpec { return emulator.UserSpec{FirstName: "Uma", Email: p.email} },
			right: `l.status = 'waiting' and marks = 0 and s.metadata is null and s.company_name = 'kept'`},
		{title: "… and adopted once verified, same id", count: 10, guest: "user%s", change: verify,
			user:  func(p *person) emulator.UserSpec { return emulator.UserSpec{FirstName: "Uma", Email: p.email} },
			right: linkedRight + ` and c.id = q.seeded`},
		{title: "accounts are never taken by e-mail: a conflict says so", count: 10, guest: "user%s", account: true, user: verified,
			right: `l.status = 'conflict' and l.reason like '%' || q.seeded || '%' and marks = 0 and s.metadata is null and s.has_account`},
		{title: "a changed e-mail reaches the same customer", count: 10, user: verified, change: move,
			right: linkedRight + ` and c.id = q.seeded`},
		{title: "an update that comes after the deletion changes nothing", count: 5, user: verified, change: updateAfterDelete, leaves: true,
			right: `p.deleted_at is not null and l.status = 'released' and marks = 0 and p.last_name is distinct from 'Zombie'`},
		{title: "the same e-mail under a new id gets the same customer", count: 5, user: verified, change: comeBack,
			right: linkedRight + ` and (select count(*) from medusa.customer m where lower(m.email) = q.email) = 1`},
		{title: "a customer merged away in a shop is linked to the one kept", count: 5, user: verified, change: mergeInShops, right: linkedRight},
		{title: "a customer deleted in the stores is made again", count: 5, user: verified, change: deletedInStore,
			right: linkedRight + ` and (select count(*) from medusa.customer m where m.email = q.email and m.deleted_at is not null) = 1`},
	}
}

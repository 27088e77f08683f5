package targettest

import (
	"context"
	"sync"

	"github.com/lockstephq/lockstep"
)

// crowd is how many calls a race starts together.
const crowd = 32

// raceChecks ask what holds when calls come together.
func raceChecks() []check {
	return []check{
		{"one user created by many at once", func(e *exam) { raceCreate(e, person(1)) }},
		{"one user without e-mail created by many at once", func(e *exam) {
			raceCreate(e, lockstep.Customer{UserID: person(1).UserID}) // nothing else in the store is unique
		}},
		{"one guest adopted by many users at once", func(e *exam) {
			raceFor(e, e.put(e.shopper(0)), e.Target.Adopt)
		}},
		{"one account updated for many users at once", func(e *exam) {
			r := e.shopper(0)
			r.Account = true
			raceFor(e, e.put(r), e.Target.Update)
		}},
		{"one e-mail created by two users at once", raceEmail},
	}
}

type outcome struct {
	customer lockstep.Customer
	err      error
}

// together runs n calls at once.
func together(n int, call func(i int) (lockstep.Customer, error)) []outcome {
	out := make([]outcome, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			out[i].customer, out[i].err = call(i)
		})
	}
	close(start)
	all.Wait()
	return out
}

// winners returns the calls that succeeded; all others must say ErrTaken.
func (e *exam) winners(out []outcome) (won []int) {
	e.Helper()
	for i, o := range out {
		if o.err == nil {
			won = append(won, i)
		} else {
			e.kind("the loser of a race", o.err, lockstep.ErrTaken)
		}
	}
	return won
}

func raceCreate(e *exam, want lockstep.Customer) {
	out := together(crowd, func(int) (lockstep.Customer, error) { return e.Target.Create(e.ctx, want) })
	won := e.winners(out)
	if len(won) == 0 {
		e.Fatalf("no Create succeeded")
	}
	e.done(want)
	for _, i := range won {
		e.equal("created", out[i].customer, out[won[0]].customer)
	}
}

// raceFor has many users at once written on one unmarked customer.
func raceFor(e *exam, unmarked Record, write func(ctx context.Context, now, want lockstep.Customer) (lockstep.Customer, error)) {
	want := func(i int) lockstep.Customer {
		c := person(i)
		c.Email, c.Account = person(0).Email, unmarked.Account
		return c
	}
	won := e.winners(together(crowd, func(i int) (lockstep.Customer, error) {
		return write(e.ctx, unmarked.Customer, want(i))
	}))
	if len(won) != 1 {
		e.Fatalf("%d users have one customer, want 1", len(won))
	}
	e.holds(unmarked.ID, want(won[0]), unmarked.Foreign)
}

func raceEmail(e *exam) {
	want := func(i int) lockstep.Customer {
		c := person(i)
		c.Email = person(9).Email
		return c
	}
	won := e.winners(together(2, func(i int) (lockstep.Customer, error) { return e.Target.Create(e.ctx, want(i)) }))
	if len(won) != 1 {
		e.Fatalf("%d users made a customer with one e-mail, want 1", len(won))
	}
	e.done(want(won[0]))
}

package bench_test

import (
	"context"
	"sync"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/targettest"
)

// shop is a target in memory whose calls cost the same however many customers
// it has. The fake, made to be looked into, sorts them all each time.
type shop struct {
	*targettest.Fake

	mu     sync.Mutex
	byUser map[string]lockstep.Customer
}

func newShop(name string) *shop {
	return &shop{Fake: targettest.NewFake(name), byUser: map[string]lockstep.Customer{}}
}

func (s *shop) Resolve(_ context.Context, q lockstep.Query) (found lockstep.Found, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.byUser[q.UserID]; ok {
		found.ByUser = []lockstep.Customer{c}
	}
	return found, nil
}

func (s *shop) put(c lockstep.Customer) (lockstep.Customer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.ID = c.UserID
	s.byUser[c.UserID] = c
	return c, nil
}

func (s *shop) Create(_ context.Context, want lockstep.Customer) (lockstep.Customer, error) {
	return s.put(want)
}

func (s *shop) Adopt(_ context.Context, _, want lockstep.Customer) (lockstep.Customer, error) {
	return s.put(want)
}

func (s *shop) Update(_ context.Context, _, want lockstep.Customer) (lockstep.Customer, error) {
	return s.put(want)
}

func (s *shop) Release(_ context.Context, _ lockstep.Customer, how lockstep.OnDelete) (lockstep.OnDelete, error) {
	return how, nil
}

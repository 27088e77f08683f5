package emulator

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
)

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	rc := &receiver{}
	options := receiving(rc)
	options.Senders = 4
	c := newTestClerk(t, options)
	const workers, rounds = 8, 10
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				work(t, c, fmt.Sprintf("worker%d-%d@example.test", w, i))
			}
		})
	}
	wg.Wait()
	waitAcknowledged(t, c)
	if got := c.UserCount(); got != 0 {
		t.Errorf("%d users are left", got)
	}
	if got := len(rc.deliveries()); got != 4*workers*rounds {
		t.Errorf("%d webhooks, want %d", got, 4*workers*rounds)
	}
}

// work walks a user through its life by every door.
func work(t *testing.T, c *Clerk, email string) {
	u, err := c.CreateUser(UserSpec{Email: email, Verified: true})
	if err != nil {
		t.Error(err)
		return
	}
	if _, err := c.UpdateUser(u.ID, UserChange{FirstName: new("Ada")}); err != nil {
		t.Error(err)
	}
	for _, step := range [][2]string{{"POST", "/ban"}, {"GET", ""}, {"DELETE", ""}} {
		if w := call(t, c, step[0], "/v1/users/"+u.ID+step[1], nil); w.Code != http.StatusOK {
			t.Errorf("%v: %d", step, w.Code)
		}
		call(t, c, "GET", "/v1/users?order_by=-updated_at", nil)
	}
	if _, err := c.MintToken(TokenSpec{UserID: u.ID}); err != nil {
		t.Error(err)
	}
}

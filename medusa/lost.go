package medusa

import (
	"sync"
	"time"
)

// settle is how long after the last request without an answer Medusa may still
// carry one out. While its database is away Medusa keeps requests, and does them
// all within seconds of its return.
const settle = time.Minute

// lostWrites remembers requests whose answer was lost, for as long as they may
// still be carried out.
type lostWrites struct {
	now func() time.Time

	mu    sync.Mutex
	last  time.Time             // when an answer was last lost, to any request
	users map[string]lostCreate // creations that may still happen
}

type lostCreate struct {
	email string
	at    time.Time
}

// note says that a request got no answer.
func (l *lostWrites) note() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = l.now()
}

// quiet reports whether all that was asked is answered, or done.
func (l *lostWrites) quiet() bool { return l.pause(time.Time{}) == 0 }

func (l *lostWrites) pause(since time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.After(since) {
		since = l.last
	}
	if since.IsZero() {
		return 0
	}
	return max(0, since.Add(settle).Sub(l.now()))
}

// creation remembers that a user's customer may yet be made.
func (l *lostWrites) creation(user, email string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other, c := range l.users {
		if l.now().Sub(c.at) > settle && l.now().Sub(l.last) > settle {
			delete(l.users, other)
		}
	}
	l.users[user] = lostCreate{email, l.now()}
}

// made forgets a lost creation: the customer is there.
func (l *lostWrites) made(user string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.users, user)
}

// mayCreate says how long to wait before a user's customer may be made. With the
// e-mail that a lost request had, at once: Medusa makes no second guest with it.
// Without an e-mail nothing in Medusa is unique, so any lost request counts, for
// it may be another process's.
func (l *lostWrites) mayCreate(user, email string) time.Duration {
	l.mu.Lock()
	before, lost := l.users[user]
	l.mu.Unlock()
	switch {
	case email == "":
		return l.pause(before.at)
	case lost && before.email != email:
		return l.pause(before.at)
	}
	return 0
}

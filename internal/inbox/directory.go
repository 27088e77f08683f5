package inbox

import (
	"context"

	"github.com/lockstephq/lockstep"
)

// Directory is the list of all users, as Clerk has it.
type Directory interface {
	// List reads users in the order of their creation, after a cursor; empty
	// begins at the first. It misses nobody who is there from the first page to
	// the last; a user may come twice.
	List(ctx context.Context, cursor string) (users []lockstep.User, next string, more bool, err error)

	// Changed reads users, those that changed last first, by pages from 0.
	Changed(ctx context.Context, page int) (users []lockstep.User, more bool, err error)

	// ByID reads the users that exist among ids.
	ByID(ctx context.Context, ids []string) ([]lockstep.User, error)

	// Count is the number of users.
	Count(ctx context.Context) (int, error)
}

// page is one answer of a Directory.
type page struct {
	users []lockstep.User
	next  string
	more  bool
	err   error
}

// readAhead is how many pages may wait for whoever stores them.
const readAhead = 8

// walk reads the whole list after a cursor, ahead of whoever takes the pages:
// Clerk answers while those before are stored. It ends with the last page, an
// error, or the context.
func walk(ctx context.Context, d Directory, cursor string) <-chan page {
	pages := make(chan page, readAhead)
	go func() {
		defer close(pages)
		for {
			var p page
			p.users, p.next, p.more, p.err = d.List(ctx, cursor)
			select {
			case pages <- p:
			case <-ctx.Done():
				return
			}
			if p.err != nil || !p.more {
				return
			}
			cursor = p.next
		}
	}()
	return pages
}

// gather joins to a page those that wait behind it, and waits for none: where
// Clerk is slow a page is stored at once, where the database is, several share a
// transaction. An error comes last, with the pages before it.
func (p page) gather(pages <-chan page) page {
	for n := 1; n <= readAhead && p.err == nil; n++ {
		select {
		case next, ok := <-pages:
			if !ok {
				return p
			}
			if p.err = next.err; p.err == nil {
				p = page{users: append(p.users, next.users...), next: next.next, more: next.more}
			}
		default:
			return p
		}
	}
	return p
}

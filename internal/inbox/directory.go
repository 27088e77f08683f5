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

// walk reads the whole list after a cursor, one page ahead of whoever takes
// them: Clerk answers while the page before is stored. It ends with the last
// page, an error, or the context.
func walk(ctx context.Context, d Directory, cursor string) <-chan page {
	pages := make(chan page)
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

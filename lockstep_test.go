package lockstep_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lockstephq/lockstep"
	"pgregory.net/rapid"
)

func TestProfileName(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		user lockstep.User
		want string
	}{
		"username":               {lockstep.User{ID: "user_abcdefghij", Username: "ada", FirstName: "Ada"}, "ada"},
		"first name":             {lockstep.User{ID: "user_abcdefghij", FirstName: "Ada"}, "Ada"},
		"id":                     {lockstep.User{ID: "user_abcdefghij"}, "user_abcdefgh"},
		"short id":               {lockstep.User{ID: "user_abc"}, "user_abc"},
		"id of eight":            {lockstep.User{ID: "user_abcdefgh"}, "user_abcdefgh"},
		"no id":                  {lockstep.User{}, "user_"},
		"last name is not asked": {lockstep.User{ID: "user_abcdefghij", LastName: "Lovelace"}, "user_abcdefgh"},
		"blank username":         {lockstep.User{ID: "user_abcdefghij", Username: " \t", FirstName: "Ada"}, "Ada"},
		"blank both":             {lockstep.User{ID: "user_abcdefghij", Username: " ", FirstName: "\n"}, "user_abcdefgh"},
		"space around":           {lockstep.User{ID: "user_abcdefghij", Username: "  ada "}, "ada"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.user.ProfileName(); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// public.profiles.username is not null: whatever Clerk sends, there is a name.
func TestProfileNameIsNeverBlank(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		u := lockstep.User{ID: rapid.StringMatching(`user_[0-9a-zA-Z]{1,30}`).Draw(t, "id"),
			Username: rapid.String().Draw(t, "username"), FirstName: rapid.String().Draw(t, "first name")}
		name := u.ProfileName()
		if strings.TrimSpace(name) == "" || name != strings.TrimSpace(name) {
			t.Errorf("%q", name)
		}
	})
}

func TestNormalEmail(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                      "",
		"  ":                    "",
		"ada@example.test":      "ada@example.test",
		" Ada@Example.TEST\n":   "ada@example.test",
		"ADA+Shop@example.test": "ada+shop@example.test",
		"Ärger@example.test":    "ärger@example.test",
	} {
		if got := lockstep.NormalEmail(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		once := lockstep.NormalEmail(rapid.String().Draw(t, "e-mail"))
		if twice := lockstep.NormalEmail(once); twice != once {
			t.Errorf("%q becomes %q the second time", once, twice)
		}
	})
}

// Nothing that nobody proved reaches a store.
func TestCustomerHoldsVerifiedFieldsOnly(t *testing.T) {
	t.Parallel()
	for _, email := range []bool{false, true} {
		for _, phone := range []bool{false, true} {
			t.Run(fmt.Sprintf("email %v phone %v", email, phone), func(t *testing.T) {
				t.Parallel()
				p := lockstep.Profile{ID: "user_a", Username: "ada", FirstName: "Ada", LastName: "Lovelace", MedusaCustomerID: "cus_1",
					Email: " Ada@Example.test", EmailVerified: email, Phone: "+15555550100", PhoneVerified: phone}
				want := lockstep.Customer{UserID: "user_a", FirstName: "Ada", LastName: "Lovelace"}
				if email {
					want.Email = "ada@example.test"
				}
				if phone {
					want.Phone = "+15555550100"
				}
				if diff := cmp.Diff(want, p.Customer()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestProfileDeleted(t *testing.T) {
	t.Parallel()
	if (lockstep.Profile{}).Deleted() {
		t.Error("a living user is deleted")
	}
	if !(lockstep.Profile{DeletedAt: time.UnixMilli(1)}).Deleted() {
		t.Error("a deleted user lives")
	}
}

var kinds = []lockstep.ErrorKind{lockstep.ErrTransient, lockstep.ErrUnknown, lockstep.ErrThrottled, lockstep.ErrTaken,
	lockstep.ErrGone, lockstep.ErrInvalid, lockstep.ErrRefused}

func TestKindOf(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		full := &lockstep.TargetError{Kind: kind, Err: errors.New("why")}
		for name, err := range map[string]error{
			"itself":         full,
			"wrapped":        fmt.Errorf("create: %w", full),
			"joined":         errors.Join(errors.New("another"), full),
			"without cause":  &lockstep.TargetError{Kind: kind},
			"bare":           kind,
			"bare, wrapped":  fmt.Errorf("create: %w", kind),
			"as the cause":   &lockstep.TargetError{Kind: kind, Err: lockstep.ErrTransient},
			"twice, outer":   &lockstep.TargetError{Kind: kind, Err: &lockstep.TargetError{Kind: lockstep.ErrTransient}},
			"over a context": &lockstep.TargetError{Kind: kind, Err: context.DeadlineExceeded},
		} {
			if got := lockstep.KindOf(err); got != kind {
				t.Errorf("%s, %s: %q", kind, name, got)
			}
			if !errors.Is(err, kind) {
				t.Errorf("%s, %s: errors.Is does not see the kind", kind, name)
			}
		}
	}
	for _, err := range []error{nil, errors.New("anything"), context.Canceled} {
		if got := lockstep.KindOf(err); got != lockstep.ErrTransient {
			t.Errorf("%v counts as %q", err, got)
		}
	}
}

func TestTargetErrorTellsKindAndCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("why")
	err := error(&lockstep.TargetError{Kind: lockstep.ErrTaken, Err: cause})
	if err.Error() != "taken by another customer: why" {
		t.Errorf("%q", err)
	}
	if !errors.Is(err, cause) || errors.Is(err, lockstep.ErrGone) {
		t.Error("errors.Is finds the wrong things")
	}
	bare := error(&lockstep.TargetError{Kind: lockstep.ErrThrottled, After: time.Second})
	if bare.Error() != "rate limited" || !errors.Is(bare, lockstep.ErrThrottled) {
		t.Errorf("%q", bare)
	}
	te, ok := errors.AsType[*lockstep.TargetError](fmt.Errorf("create: %w", bare))
	if !ok || te.After != time.Second {
		t.Errorf("the wait is lost: %+v", te)
	}
}

// A link's status and an error's kind are what people read and search for.
func TestWordsAreDistinct(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, kind := range kinds {
		if kind == "" || seen[kind.Error()] {
			t.Errorf("kind %q twice, or empty", kind)
		}
		seen[kind.Error()] = true
	}
}

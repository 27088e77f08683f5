package shopify_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/shopify"
)

func onDelete(how lockstep.OnDelete) func(*shopify.Options) {
	return func(o *shopify.Options) { o.OnDelete, o.Tags = how, []string{owned} }
}

// TestErasureScope: it is asked for where a policy needs it, and named where it
// lacks, before anything is written.
func TestErasureScope(t *testing.T) {
	t.Parallel()
	const scope = "write_customer_data_erasure"
	for how, want := range map[lockstep.OnDelete]bool{"": true, lockstep.OnDeleteKeep: true, lockstep.OnDeleteAnonymise: false, lockstep.OnDeleteDelete: false} {
		w := openWorld(t)
		target := w.target(t, w.acme, onDelete(how))
		if err := target.Check(t.Context()); err != nil {
			t.Errorf("%s, with the scope: %v", how, err)
		}
		w.acme.SetScopes("write_customers")
		if err := target.Check(t.Context()); (err == nil) != want || !want && (lockstep.KindOf(err) != lockstep.ErrRefused || !strings.Contains(err.Error(), scope)) {
			t.Errorf("%s, without the scope: %v", how, err)
		}
		finding := slices.IndexFunc(target.Examine(t.Context()), func(f lockstep.Finding) bool {
			return f.State == lockstep.FindingFailed && strings.Contains(f.Detail, scope)
		})
		if (finding < 0) != want {
			t.Errorf("%s, without the scope: doctor's finding is number %d", how, finding)
		}
		c, err := target.Create(t.Context(), lockstep.Customer{UserID: "user_ada", Email: "ada@example.test"})
		if err != nil {
			t.Fatal(err)
		}
		before := fmt.Sprint(w.customer(t, c.ID))
		_, err = target.Release(t.Context(), c, lockstep.OnDeleteAnonymise)
		if lockstep.KindOf(err) != lockstep.ErrInvalid || !strings.Contains(err.Error(), scope) || !strings.Contains(err.Error(), "lockstep retry") {
			t.Errorf("anonymised without the scope: %v", err)
		}
		if after := fmt.Sprint(w.customer(t, c.ID)); after != before {
			t.Errorf("written without the scope: %s, was %s", after, before)
		}
		if done, err := target.Release(t.Context(), c, lockstep.OnDeleteKeep); done != lockstep.OnDeleteKeep || err != nil {
			t.Errorf("released without the scope: %s, %v", done, err)
		}
	}
}

// TestFarewellTags: each policy that leaves the customer tells it by a tag, which a
// customer of a living user does not get; no other is touched.
func TestFarewellTags(t *testing.T) {
	t.Parallel()
	for how, erases := range map[lockstep.OnDelete]bool{lockstep.Unmark: false, lockstep.OnDeleteKeep: false, lockstep.OnDeleteAnonymise: true} {
		w := openWorld(t)
		target := w.target(t, w.acme, onDelete(how))
		note := "likes owls"
		guest := w.put(t, emulator.CustomerSpec{Email: "ada@example.test", Phone: "+4520123456", LastName: "Byron", Tags: []string{"vip"}, Note: &note, Orders: 2})
		c, err := target.Adopt(t.Context(), lockstep.Customer{ID: guest.ID, Email: guest.Email}, lockstep.Customer{UserID: "user_ada", Email: guest.Email})
		if err != nil {
			t.Fatal(err)
		}
		if done, err := target.Release(t.Context(), c, how); done != how || err != nil {
			t.Fatalf("%s: %s, %v", how, done, err)
		}
		got, tags := w.customer(t, guest.ID), []string{released, "vip"}
		if how == lockstep.Unmark {
			tags = []string{"vip"}
		}
		if !slices.Equal(got.Tags, tags) || *got.Note != note || got.Orders != 2 || markOf(got) != "" || got.Erasing != erases {
			t.Errorf("%s: %+v", how, got)
		}
		if anonymous := got.Email == "" && got.Phone == "" && got.LastName == "(deleted)"; anonymous != erases {
			t.Errorf("%s: %+v", how, got)
		}
	}
}

// TestFarewellToSubjects: the shop signs people in through an identity provider. A
// customer that is tied to the user's own subject is the user's, any other may be
// somebody else's.
func TestFarewellToSubjects(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]lockstep.OnDelete{"user_ada": lockstep.OnDeleteDelete, "user_eve": lockstep.OnDeleteKeep} {
		w := openWorld(t)
		target := w.target(t, w.acme)
		c, err := target.Create(t.Context(), lockstep.Customer{UserID: "user_ada", Email: "ada@example.test"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.acme.EditCustomer(c.ID, emulator.CustomerEdit{Subject: &subject}); err != nil {
			t.Fatal(err)
		}
		if done, err := target.Release(t.Context(), c, lockstep.OnDeleteDelete); done != want || err != nil {
			t.Errorf("%s: %s, %v", subject, done, err)
		}
	}
}

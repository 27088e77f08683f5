package shopify

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
)

// TestEditsSurvive: what a merchant changed since now was read is not written
// over, unless the user changed the same.
func TestEditsSurvive(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		now   func() lockstep.Customer
		write func(*Target, context.Context, lockstep.Customer, lockstep.Customer) (lockstep.Customer, error)
	}{
		"Update":               {adaNow, (*Target).Update},
		"Update of an unknown": {unmarked, (*Target).Update},
		"Adopt":                {unmarked, (*Target).Adopt},
	} {
		shop := newFakeShop(t, body(strings.ReplaceAll(readAda, "Ada", "Augusta")))
		want := wantAda()
		want.LastName = "King"
		if _, err := tt.write(newTestTarget(t, shop.URL), t.Context(), tt.now(), want); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		last := shop.requests[len(shop.requests)-1]
		if last.operation != "Set" || !strings.Contains(last.variables, `"input":{"lastName":"King"}`) {
			t.Errorf("%s: sent %+v", name, last)
		}
	}
}

func unmarked() lockstep.Customer {
	c := adaNow()
	c.UserID = ""
	return c
}

// TestMarkedMeanwhile: the answer to an update shows another user's mark.
func TestMarkedMeanwhile(t *testing.T) {
	t.Parallel()
	shop := newFakeShop(t, body(strings.ReplaceAll(readAda, "user_ada", "user_bob")))
	target := newTestTarget(t, shop.URL)
	want := wantAda()
	want.LastName = "King"
	_, err := target.Update(t.Context(), adaNow(), want)
	judge(t, "Update", err, lockstep.ErrTaken)
	_, err = target.Update(t.Context(), lockstep.Customer{ID: "cus_medusa", UserID: "user_ada"}, want)
	judge(t, "Update of another store's", err, lockstep.ErrGone)
}

// TestOrderedMeanwhile: the first order comes between the look and the deletion,
// which Shopify then refuses; or somebody else deletes the customer.
func TestOrderedMeanwhile(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]struct {
		done lockstep.OnDelete
		sent string
	}{
		"Customer can’t be deleted because they have associated orders": {lockstep.OnDeleteAnonymise, "Departing Delete Erase Blank TagsAdd Unmark"},
		"Customer can't be found": {lockstep.OnDeleteDelete, "Departing Delete"},
	} {
		shop := newFakeShop(t, func(w http.ResponseWriter, r request) {
			text := strings.Replace(readAda, `"customer":{`, `"customer":{"canDelete":true,`, 1)
			switch r.operation {
			case "Departing":
			case "Delete":
				text = `{"data":{"customerDelete":{"userErrors":[{"field":["id"],"message":"` + message + `"}]}}}`
			default:
				text = `{"data":{}}`
			}
			_, _ = io.WriteString(w, text)
		})
		done, err := newTestTarget(t, shop.URL).Release(t.Context(), adaNow(), lockstep.OnDeleteDelete)
		if got := strings.Join(shop.asked(), " "); err != nil || done != want.done || got != want.sent {
			t.Errorf("%s: %s, %v, sent %s", message, done, err, got)
		}
	}
}

// TestDeletedMeanwhile: a customer goes between two requests of one call.
func TestDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	const gone = `{"data":{"tagsAdd":{"userErrors":[{"field":["id"],"message":"Customer does not exist"}]}}}`
	shop := newFakeShop(t, func(w http.ResponseWriter, r request) {
		text := readAda
		if r.operation == "TagsAdd" {
			text = gone
		}
		_, _ = io.WriteString(w, text)
	})
	target := newTestTarget(t, shop.URL)
	if _, err := target.Release(t.Context(), adaNow(), lockstep.OnDeleteKeep); err != nil {
		t.Errorf("Release: %v", err)
	}
	if got := strings.Join(shop.asked(), " "); got != "Departing TagsAdd" {
		t.Errorf("sent %s", got)
	}
	tagged := newTestTarget(t, shop.URL, func(o *Options) { o.Tags = []string{"clerk"} })
	judge(t, "Create", writeIt(t.Context(), tagged), lockstep.ErrGone)

	noPhone := newFakeShop(t, func(w http.ResponseWriter, r request) {
		text := `{"data":{"customer":null}}`
		if r.operation == "Set" {
			text = refusedBy(`"TAKEN"`, `["input","phone"]`, "Phone has already been taken")
		}
		_, _ = io.WriteString(w, text)
	})
	want := wantAda()
	want.Phone = "+4520123456"
	_, err := newTestTarget(t, noPhone.URL).Update(t.Context(), adaNow(), want)
	judge(t, "Update", err, lockstep.ErrGone)
}

// TestTagsWhilePointsAreUnknown: the bucket fails after the customer was made.
func TestTagsWhilePointsAreUnknown(t *testing.T) {
	t.Parallel()
	shop := newFakeShop(t, func(w http.ResponseWriter, r request) {
		text := readAda
		if r.operation == "TagsAdd" {
			text = `{"data":{"tagsAdd":{"userErrors":[]}}}`
		}
		_, _ = io.WriteString(w, text)
	})
	for name, tt := range map[string]struct {
		fails int // of the calls for tags
		want  string
		kind  lockstep.ErrorKind
	}{
		"once":   {1, "Set Read TagsAdd", ""},
		"always": {9, "Set Read Read Read", lockstep.ErrTransient},
	} {
		shop.requests = nil
		b := &failingBucket{fails: tt.fails}
		err := writeIt(t.Context(), newTestTarget(t, shop.URL, func(o *Options) { o.Bucket, o.Tags = b, []string{"clerk"} }))
		if got := strings.Join(shop.asked(), " "); got != tt.want || (err == nil) != (tt.kind == "") || err != nil && lockstep.KindOf(err) != tt.kind {
			t.Errorf("%s: sent %s, %v", name, got, err)
		}
	}
}

// failingBucket fails for tags.
type failingBucket struct {
	stingyBucket
	fails int
}

func (b *failingBucket) Take(_ context.Context, _ string, cost float64, _ bool) (time.Duration, error) {
	if cost == 10 && b.fails > 0 {
		b.fails--
		return 0, errors.New("the database is away")
	}
	return 0, nil
}

// TestGuestChanged: between the look and the write a guest moved to another
// e-mail, or was deleted.
func TestGuestChanged(t *testing.T) {
	t.Parallel()
	moved := newFakeShop(t, body(strings.ReplaceAll(strings.ReplaceAll(readAda, "ada@example.test", "eve@example.test"),
		`"mark":{"namespace":"app--1","value":"user_ada"}`, `"mark":null`)))
	_, err := newTestTarget(t, moved.URL).Adopt(t.Context(), unmarked(), wantAda())
	judge(t, "Adopt of a guest that moved", err, lockstep.ErrTaken)
	if got := strings.Join(moved.asked(), " "); got != "Read" {
		t.Errorf("sent %s", got)
	}

	deleted := newFakeShop(t, func(w http.ResponseWriter, r request) {
		text := strings.ReplaceAll(readAda, `"mark":{"namespace":"app--1","value":"user_ada"}`, `"mark":null`)
		if r.operation == "Mark" {
			text = `{"data":{"metafieldsSet":{"userErrors":[{"code":"INVALID","field":["metafields","0","ownerId"],"message":"Owner does not exist."}]}}}`
		}
		_, _ = io.WriteString(w, text)
	})
	_, err = newTestTarget(t, deleted.URL).Adopt(t.Context(), unmarked(), wantAda())
	judge(t, "Adopt of a guest that was deleted", err, lockstep.ErrGone)
}

// TestAdoptedBefore: an adoption whose answer was lost is not written again.
func TestAdoptedBefore(t *testing.T) {
	t.Parallel()
	shop := newFakeShop(t, body(readAda))
	now := unmarked()
	now.Email, now.FirstName = "Ada@Example.test", "A."
	got, err := newTestTarget(t, shop.URL).Adopt(t.Context(), now, wantAda())
	if err != nil || got != adaNow() {
		t.Errorf("got %+v, %v", got, err)
	}
	if got := strings.Join(shop.asked(), " "); got != "Read" {
		t.Errorf("sent %s", got)
	}
}

// TestDialTimeout: the time is up before there is a connection.
func TestDialTimeout(t *testing.T) {
	t.Parallel()
	hangs := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}}
	target := newTestTarget(t, "http://127.0.0.1:1", func(o *Options) { o.HTTP, o.Timeout = hangs, 20*time.Millisecond })
	err := writeIt(t.Context(), target)
	judge(t, "write", err, lockstep.ErrTransient)
	if !strings.Contains(err.Error(), "no connection: context deadline exceeded") {
		t.Errorf("%v does not say why", err)
	}
}

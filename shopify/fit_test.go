package shopify

import (
	"strings"
	"testing"

	"github.com/lockstephq/lockstep"
)

func TestFit(t *testing.T) {
	t.Parallel()
	target := newTestTarget(t, "http://127.0.0.1:1")
	long := strings.Repeat("ø", 254)
	tests := map[string]struct{ give, want lockstep.Customer }{
		"as it is":            {lockstep.Customer{UserID: "user_1", Email: "a@example.test", FirstName: "Ada", Phone: "+4520123456", Account: true}, lockstep.Customer{UserID: "user_1", Email: "a@example.test", FirstName: "Ada", Phone: "+4520123456", Account: true}},
		"an e-mail":           {lockstep.Customer{Email: " Ada@Example.test\n"}, lockstep.Customer{Email: "ada@example.test"}},
		"spaces in a number":  {lockstep.Customer{Phone: "+45 20 12-34 56"}, lockstep.Customer{Phone: "+4520123456"}},
		"an American number":  {lockstep.Customer{Phone: "+1 (416) 555-0123"}, lockstep.Customer{Phone: "+14165550123"}},
		"an extension":        {lockstep.Customer{FirstName: "Ada", Phone: "+1 416 555 0123 ext. 7"}, lockstep.Customer{FirstName: "Ada"}},
		"no country":          {lockstep.Customer{Phone: "20123456"}, lockstep.Customer{}},
		"too short":           {lockstep.Customer{Phone: "+4520"}, lockstep.Customer{}},
		"letters":             {lockstep.Customer{Phone: "call me"}, lockstep.Customer{}},
		"a blank number":      {lockstep.Customer{Phone: " "}, lockstep.Customer{}},
		"255 characters":      {lockstep.Customer{FirstName: long + "x"}, lockstep.Customer{FirstName: long + "x"}},
		"256 characters":      {lockstep.Customer{FirstName: long + "xy", LastName: long + " y"}, lockstep.Customer{FirstName: long + "x", LastName: long}},
		"space around a name": {lockstep.Customer{LastName: " Byron "}, lockstep.Customer{LastName: "Byron"}},
	}
	for name, tt := range tests {
		got := target.Fit(tt.give)
		if got != tt.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
		if again := target.Fit(got); again != got {
			t.Errorf("%s: fits differently the second time: %+v", name, again)
		}
	}
}

// TestMaskedPhones: numbers that cannot be compared would be written for ever.
func TestMaskedPhones(t *testing.T) {
	t.Parallel()
	masked := strings.ReplaceAll(readAda, `"defaultPhoneNumber":null`, `"defaultPhoneNumber":{"phoneNumber":"+45******56"}`)
	shop := newFakeShop(t, body(masked))
	target := newTestTarget(t, shop.URL)
	want := wantAda()
	want.Phone = "+4520123456"
	if got := target.Fit(want); got != want {
		t.Errorf("got %+v before", got)
	}
	if err := readIt(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if got := target.Fit(want); got != wantAda() {
		t.Errorf("got %+v after", got)
	}
}

func TestUnstorableTextIsNotSent(t *testing.T) {
	t.Parallel()
	target := newTestTarget(t, "http://127.0.0.1:1")
	for _, bad := range []string{"a\x00b", "\xff"} {
		_, resolve := target.Resolve(t.Context(), lockstep.Query{UserID: bad})
		_, create := target.Create(t.Context(), lockstep.Customer{UserID: "user_1", FirstName: bad})
		_, adopt := target.Adopt(t.Context(), adaNow(), lockstep.Customer{UserID: "user_1", Phone: bad})
		_, update := target.Update(t.Context(), adaNow(), lockstep.Customer{UserID: "user_1", Email: bad})
		_, release := target.Release(t.Context(), lockstep.Customer{ID: bad}, lockstep.OnDeleteKeep)
		for _, err := range []error{resolve, create, adopt, update, release} {
			if lockstep.KindOf(err) != lockstep.ErrInvalid {
				t.Errorf("%q: %v", bad, err)
			}
		}
	}
	if _, err := target.Create(t.Context(), lockstep.Customer{}); lockstep.KindOf(err) != lockstep.ErrInvalid {
		t.Errorf("without a user: %v", err)
	}
}

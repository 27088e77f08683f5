package emulator

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func listIDs(t *testing.T, c *Clerk, query string) []string {
	t.Helper()
	w := call(t, c, "GET", "/v1/users?"+query, nil)
	wantStatus(t, w, http.StatusOK, "")
	ids := []string{}
	for _, u := range decode[[]User](t, w.Body.Bytes()) {
		ids = append(ids, u.ID)
	}
	return ids
}

// population makes users user_0, user_1, … created a second apart.
func population(t *testing.T, c *Clerk, n int) []string {
	t.Helper()
	ids := make([]string, n)
	for i := range n {
		ids[i] = fmt.Sprintf("user_%d", i)
		mustCreate(t, c, UserSpec{
			ID: ids[i], Username: fmt.Sprintf("name%d", n-i), FirstName: fmt.Sprintf("First%d", i), ExternalID: fmt.Sprintf("ext_%d", i),
			Email: fmt.Sprintf("user%d@example.test", i), Verified: true, Phone: fmt.Sprintf("+1555555%04d", i), PhoneVerified: true,
			Banned: i%2 == 1, CreatedAt: time.Unix(1_700_000_000+int64(i), 0),
		})
	}
	return ids
}

func TestCursorVisitsEveryUserOnceWhileUsersAreAdded(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"%2Bcreated_at", "created_at", "-created_at"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			c := newTestClerk(t, ClerkOptions{})
			before := population(t, c, 23)
			var seen []string
			for cursor := ""; ; {
				page := listIDs(t, c, "limit=5&order_by="+order+"&starting_after="+cursor)
				seen = append(seen, page...)
				if len(page) < 5 {
					break
				}
				cursor = page[len(page)-1]
				if c.UserCount() < 40 {
					mustCreate(t, c, UserSpec{})
				}
			}
			checkVisits(t, seen, before)
		})
	}
}

func checkVisits(t *testing.T, seen, wanted []string) {
	t.Helper()
	visits := map[string]int{}
	for _, id := range seen {
		visits[id]++
		if visits[id] > 1 {
			t.Errorf("%s was visited twice", id)
		}
	}
	for _, id := range wanted {
		if visits[id] != 1 {
			t.Errorf("%s was visited %d times", id, visits[id])
		}
	}
}

func TestOffsetPagingSkipsNobodyAtRest(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	before := population(t, c, 12)
	var seen []string
	for offset := 0; offset < 15; offset += 5 {
		seen = append(seen, listIDs(t, c, fmt.Sprintf("limit=5&offset=%d&order_by=-updated_at", offset))...)
	}
	checkVisits(t, seen, before)
	slices.Reverse(before)
	if !slices.Equal(seen, before) {
		t.Errorf("order: %v", seen)
	}
}

func TestListParameters(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	population(t, c, 12)
	if _, err := c.UpdateUser("user_3", UserChange{SignedIn: true, AddEmails: []EmailSpec{{Address: "three@gmail.example", Verified: true, Strategy: "from_oauth_google"}}}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ query, want string }{
		{"limit=2", "11 10"},
		{"limit=2&offset=1", "10 9"},
		{"limit=2&order_by=%2Bcreated_at&offset=11", "11"},
		{"limit=2&order_by=created_at&starting_after=user_4", "5 6"},
		{"limit=2&order_by=-created_at&starting_after=user_1", "0"},
		{"limit=2&order_by=-updated_at", "3 11"},
		{"limit=2&order_by=username", "11 2"},
		{"limit=2&order_by=-first_name", "9 8"},
		{"limit=2&order_by=-email_address", "9 8"},
		{"limit=1&order_by=-last_sign_in_at", "3"},
		{"user_id=user_2&user_id=%2Buser_5&user_id=user_none&order_by=created_at", "2 5"},
		{"user_id=-user_2&order_by=created_at&limit=3", "0 1 3"},
		{"email_address=USER7@example.test&email_address=three@gmail.example", "7 3"},
		{"phone_number=%2B15555550004", "4"},
		{"username=name12", "0"},
		{"external_id=ext_6", "6"},
		{"banned=true&limit=2", "11 9"},
		{"banned=false&limit=2", "10 8"},
		{"created_at_before=1700000002000", "1 0"},
		{"created_at_after=1700000010000", "11"},
		{"last_sign_in_at_after=0", "3"},
		{"query=uSeR1&order_by=created_at", "1 10 11"},
		{"email_address_query=gmail", "3"},
		{"name_query=first8", "8"},
		{"provider=oauth_google", "3"},
		{"organization_id=org_none", ""},
		{"web3_wallet=0x0", ""},
	} {
		got := strings.ReplaceAll(strings.Join(listIDs(t, c, test.query), " "), "user_", "")
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.query, got, test.want)
		}
		wantCount(t, c, test.query)
	}
	if got := len(listIDs(t, c, "")); got != defaultPage {
		t.Errorf("default page has %d users", got)
	}
}

// wantCount compares the count with the length of the list of the same filters.
func wantCount(t *testing.T, c *Clerk, query string) {
	t.Helper()
	filters, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	for _, paging := range []string{"limit", "offset", "order_by", "starting_after"} {
		filters.Del(paging)
	}
	w := call(t, c, "GET", "/v1/users/count?"+filters.Encode(), nil)
	filters.Set("limit", "500")
	want := len(listIDs(t, c, filters.Encode()))
	got := decode[struct {
		TotalCount int `json:"total_count"`
	}](t, w.Body.Bytes()).TotalCount
	if got != want {
		t.Errorf("%s: count %d, want %d", query, got, want)
	}
}

func TestListRefusals(t *testing.T) {
	t.Parallel()
	c := newTestClerk(t, ClerkOptions{})
	population(t, c, 2)
	for _, query := range []string{
		"limit=0", "limit=501", "limit=x", "offset=-1",
		"order_by=nonsense", "order_by=%2B-created_at", "order_by=+created_at",
		"starting_after=user_0&order_by=-updated_at",
		"starting_after=user_0&offset=1",
		"starting_after=user_none",
		"banned=perhaps", "created_at_after=yesterday",
		strings.Repeat("user_id=user_0&", maxFilterValues+1),
		strings.Repeat("email_address=a@example.test&", maxFilterValues+1),
	} {
		wantStatus(t, call(t, c, "GET", "/v1/users?"+query, nil), http.StatusUnprocessableEntity, codeParamInvalid)
	}
	wantStatus(t, call(t, c, "GET", "/v1/users/count?banned=perhaps", nil), http.StatusUnprocessableEntity, codeParamInvalid)
}

package shopify

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/lockstephq/lockstep"
)

// snapshot is a customer as the fragment of that name reads it.
type snapshot struct {
	ID        string        `json:"id"`
	FirstName string        `json:"firstName"`
	LastName  string        `json:"lastName"`
	State     string        `json:"state"`
	Verified  bool          `json:"verifiedEmail"`
	Tags      []string      `json:"tags"`
	Email     *emailAddress `json:"defaultEmailAddress"`
	Phone     *phoneNumber  `json:"defaultPhoneNumber"`
	Subjects  []struct {
		Subject string `json:"subject"`
	} `json:"identityProviderSubjects"`
	Mark *mark `json:"mark"`
}

type emailAddress struct {
	Address   string    `json:"emailAddress"`
	Consent   string    `json:"marketingState"` // these two where a consent is mapped
	ConsentAt time.Time `json:"marketingUpdatedAt"`
}

type phoneNumber struct {
	Number string `json:"phoneNumber"`
}

// mark is the metafield that names the user.
type mark struct {
	Namespace string `json:"namespace"` // in full, where "$app" was asked for
	Value     string `json:"value"`
}

// customer is the snapshot in Lockstep's words, seen for a user.
func (t *Target) customer(s snapshot, userID string) lockstep.Customer {
	c := lockstep.Customer{ID: s.ID, UserID: s.owner(), FirstName: s.FirstName, LastName: s.LastName, Account: s.account(userID)}
	if s.Email != nil {
		c.Email = s.Email.Address
		if t.consent != "" {
			c.Consent = lockstep.Consent{State: s.Email.Consent, At: s.Email.ConsentAt}
		}
	}
	if s.Phone != nil {
		c.Phone = s.Phone.Number
	}
	if strings.Contains(c.Phone, "*") && t.phonesMasked.CompareAndSwap(false, true) {
		t.log.Warn("Shopify masks phone numbers from the app, so none are compared or written: "+
			"approve its access to protected customer data, then restart lockstep", "target", t.name)
	}
	c.Untidy = c.UserID != "" && (len(pick(s, t.tags, false)) > 0 || hasTag(s, t.released))
	return c
}

func (s snapshot) owner() string {
	if s.Mark == nil {
		return ""
	}
	return s.Mark.Value
}

// account tells whether somebody may sign in as the customer who need not be
// the person that proved the e-mail to Clerk; such a customer is not adopted.
//
// In Shopify every customer is a possible account. The shop signs people in by a
// code sent to the e-mail, or through an identity provider that vouches for it,
// and then uses the customer that has the e-mail, made by whomever. So who
// proved the e-mail could sign in as that customer anyway, and adopting it is
// what keeps a second one from being made. Two kinds of customer differ:
//   - one with a password of the older accounts, which anybody could register
//     for any address: state ENABLED, and the e-mail never verified;
//   - one that an identity provider tied to a subject that is not this user.
func (s snapshot) account(userID string) bool {
	if s.password() {
		return true
	}
	for _, other := range s.Subjects {
		if other.Subject != userID {
			return true
		}
	}
	return false
}

// password reports an older account whose e-mail nobody ever proved.
func (s snapshot) password() bool { return s.State == "ENABLED" && !s.Verified }

// hidden reports a customer without anything of which Shopify wants one: its
// data was erased, or is not shown to the app.
func (s snapshot) hidden() bool {
	return s.Email == nil && s.Phone == nil && s.FirstName == "" && s.LastName == ""
}

// isID tells the ids of customers from whatever a link might hold.
func isID(id string) bool {
	number, ok := strings.CutPrefix(id, idPrefix)
	_, err := strconv.ParseUint(number, 10, 64)
	return ok && err == nil
}

// place adds where the mark is kept. An absent namespace is the app's own; null
// would not be.
func (t *Target) place(vars map[string]any) map[string]any {
	vars["key"] = markKey
	if t.namespace != "" {
		vars["namespace"] = t.namespace
	}
	return vars
}

// resolved is the answer to the operation resolve.
type resolved struct {
	ByLink  *snapshot `json:"byLink"`
	ByUser  *snapshot `json:"byUser"`
	ByEmail *snapshot `json:"byEmail"`
}

// Resolve implements lockstep.Target, by id, by mark and by exact e-mail, all of
// which see every acknowledged write. It takes one request, and another one only
// if the link's customer has lost the mark, or is gone: marks are unique, so as
// long as it carries the user's no other customer does.
func (t *Target) Resolve(ctx context.Context, q lockstep.Query) (lockstep.Found, error) {
	op := t.ops["resolve"]
	if err := op.storable(q.UserID, q.CustomerID, q.Email); err != nil {
		return lockstep.Found{}, err
	}
	got, err := t.resolve(ctx, q)
	if err != nil {
		return lockstep.Found{}, err
	}
	if s := got.ByEmail; s != nil && s.Email == nil {
		return lockstep.Found{}, t.hiddenData("resolve", s.ID)
	}
	return t.found(got, q), nil
}

func (t *Target) resolve(ctx context.Context, q lockstep.Query) (got resolved, err error) {
	if isID(q.CustomerID) {
		if got, err = t.lookUp(ctx, lockstep.Query{CustomerID: q.CustomerID, Email: q.Email}); err != nil || q.UserID == "" {
			return got, err
		}
		if got.ByLink != nil && got.ByLink.owner() == q.UserID {
			got.ByUser = got.ByLink
			return got, nil
		}
		q.Email = "" // was asked for already
	}
	marked, err := t.lookUp(ctx, lockstep.Query{UserID: q.UserID, Email: q.Email})
	if errors.Is(err, errNoDefinition) { // then no customer carries a mark
		marked, err = t.lookUp(ctx, lockstep.Query{Email: q.Email})
	}
	got.ByUser = marked.ByUser
	if marked.ByEmail != nil {
		got.ByEmail = marked.ByEmail
	}
	return got, err
}

func (t *Target) found(got resolved, q lockstep.Query) (f lockstep.Found) {
	if got.ByLink != nil {
		c := t.customer(*got.ByLink, q.UserID)
		f.ByLink = &c
	}
	if got.ByUser != nil {
		f.ByUser = append(f.ByUser, t.customer(*got.ByUser, q.UserID))
	}
	if got.ByEmail != nil {
		f.ByEmail = append(f.ByEmail, t.customer(*got.ByEmail, q.UserID))
	}
	return f
}

// lookUp asks for what the query names. A lookup that is left out needs a value
// for its variable all the same.
func (t *Target) lookUp(ctx context.Context, q lockstep.Query) (got resolved, err error) {
	op := t.ops["resolve"]
	op.cost = 0
	asked := func(is bool) bool {
		if is {
			op.cost += lookupCost
		}
		return is
	}
	const nobody = idPrefix + "0"
	vars := t.place(map[string]any{
		"link": nobody, "user": map[string]any{"id": nobody}, "email": map[string]any{"id": nobody},
		"byLink": asked(isID(q.CustomerID)), "byUser": asked(q.UserID != ""), "byEmail": asked(q.Email != ""),
	})
	if isID(q.CustomerID) {
		vars["link"] = q.CustomerID
	}
	if q.UserID != "" {
		vars["user"] = t.byMark(q.UserID)
	}
	if q.Email != "" {
		vars["email"] = map[string]any{"emailAddress": q.Email}
	}
	if op.cost == 0 {
		return got, nil
	}
	err = t.client.run(ctx, op, vars, &got)
	return got, err
}

// byMark identifies the customer that carries a user's mark.
func (t *Target) byMark(userID string) map[string]any {
	return map[string]any{"customId": t.place(map[string]any{"value": userID})}
}

// read reads one customer by id; nil means that it is gone.
func (t *Target) read(ctx context.Context, id string) (*snapshot, error) {
	if !isID(id) {
		return nil, nil
	}
	var got struct {
		Customer *snapshot `json:"customer"`
	}
	err := t.client.run(ctx, t.ops["read"], t.place(map[string]any{"id": id}), &got)
	return got.Customer, err
}

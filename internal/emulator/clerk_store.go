package emulator

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// userStore holds the users of an instance. Clerk.mu guards it.
type userStore struct {
	limit      int // zero for none
	byID       map[string]*slot
	byCreation []*slot           // ascending by creation, then id
	taken      map[string]string // identifier, see identifiers, to user id
}

// slot is a user's place; a change replaces the user in it.
type slot struct{ user *User }

func newUserStore(limit int) *userStore {
	return &userStore{limit: limit, byID: map[string]*slot{}, taken: map[string]string{}}
}

func (s *userStore) get(id string) *User {
	if place := s.byID[id]; place != nil {
		return place.user
	}
	return nil
}

func (s *userStore) insert(u *User) error {
	if s.limit > 0 && len(s.byID) >= s.limit {
		return &ClerkError{Status: http.StatusForbidden, Code: "user_quota_exceeded", Message: "The instance has reached its number of users"}
	}
	if s.byID[u.ID] != nil {
		return invalid(codeTaken, "%s exists", u.ID)
	}
	if err := s.claim(u); err != nil {
		return err
	}
	place := &slot{u}
	s.byID[u.ID] = place
	at, _ := slices.BinarySearchFunc(s.byCreation, u, compareSlot)
	s.byCreation = slices.Insert(s.byCreation, at, place)
	return nil
}

func (s *userStore) replace(u *User) error {
	place := s.byID[u.ID]
	old := place.user
	s.disclaim(old)
	if err := s.claim(u); err != nil {
		_ = s.claim(old) // they were its own a moment ago
		return err
	}
	place.user = u
	return nil
}

func (s *userStore) remove(u *User) {
	s.disclaim(u)
	delete(s.byID, u.ID)
	if at, found := slices.BinarySearchFunc(s.byCreation, u, compareSlot); found {
		s.byCreation = slices.Delete(s.byCreation, at, at+1)
	}
}

// claim takes a user's identifiers, all or none.
func (s *userStore) claim(u *User) error {
	wanted := identifiers(u)
	for _, identifier := range wanted {
		if owner, taken := s.taken[identifier]; taken && owner != u.ID {
			kind, _, _ := strings.Cut(identifier, ":")
			return invalid(codeTaken, "That %s is taken", kind)
		}
	}
	for _, identifier := range wanted {
		s.taken[identifier] = u.ID
	}
	return nil
}

func (s *userStore) disclaim(u *User) {
	for _, identifier := range identifiers(u) {
		delete(s.taken, identifier)
	}
}

// identifiers are what no two users of an instance share. Addresses and numbers
// count once they are verified or reserved.
func identifiers(u *User) []string {
	var list []string
	for _, email := range u.EmailAddresses {
		if email.Verified() || email.Reserved {
			list = append(list, "email_address:"+strings.ToLower(email.EmailAddress))
		}
	}
	for _, phone := range u.PhoneNumbers {
		if phone.Verified() || phone.Reserved {
			list = append(list, "phone_number:"+phone.PhoneNumber)
		}
	}
	if u.Username != nil {
		list = append(list, "username:"+strings.ToLower(*u.Username))
	}
	if u.ExternalID != nil {
		list = append(list, "external_id:"+*u.ExternalID)
	}
	return list
}

func compareCreation(a, b *User) int {
	return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.ID, b.ID))
}

func compareSlot(place *slot, u *User) int { return compareCreation(place.user, u) }

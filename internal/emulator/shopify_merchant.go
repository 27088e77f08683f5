package emulator

import "cmp"

// CustomerSpec is a customer to put into a shop: a guest of the checkout unless it
// says otherwise.
type CustomerSpec struct {
	Email         string          `json:"email"`
	Phone         string          `json:"phone"`
	FirstName     string          `json:"first_name"`
	LastName      string          `json:"last_name"`
	Note          *string         `json:"note"`
	Tags          []string        `json:"tags"`
	Addresses     []ShopAddress   `json:"addresses"`
	State         string          `json:"state"` // default CustomerDisabled
	VerifiedEmail bool            `json:"verified_email"`
	Orders        int             `json:"orders"`
	Subject       string          `json:"subject"` // at the identity provider
	EmailConsent  ShopConsent     `json:"email_consent"`
	Metafields    []ShopMetafield `json:"metafields"` // namespace, key, type and value
	MergeBlockers []string        `json:"merge_blockers"`
}

// CustomerEdit is a merchant's edit; nil leaves a field alone, "" clears a text.
type CustomerEdit struct {
	Email         *string        `json:"email"`
	Phone         *string        `json:"phone"`
	FirstName     *string        `json:"first_name"`
	LastName      *string        `json:"last_name"`
	Note          *string        `json:"note"`
	Tags          *[]string      `json:"tags"` // replaces them
	Addresses     *[]ShopAddress `json:"addresses"`
	State         *string        `json:"state"`
	VerifiedEmail *bool          `json:"verified_email"`
	Subject       *string        `json:"subject"`
	EmailConsent  *ShopConsent   `json:"email_consent"`
	Orders        *int           `json:"orders"`
	MergeBlockers *[]string      `json:"merge_blockers"`
}

// PutCustomer makes a customer and sends customers/create. It fails on a value that
// Shopify would refuse.
func (s *Shop) PutCustomer(spec CustomerSpec) (ShopCustomer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := newCustomer(s.options.Now())
	c.State, c.VerifiedEmail = cmp.Or(spec.State, CustomerDisabled), spec.VerifiedEmail
	c.Orders, c.Subject, c.EmailConsent, c.MergeBlockers = spec.Orders, spec.Subject, spec.EmailConsent, spec.MergeBlockers
	edit := CustomerEdit{
		Email: &spec.Email, Phone: &spec.Phone, FirstName: &spec.FirstName, LastName: &spec.LastName,
		Note: spec.Note, Tags: &spec.Tags, Addresses: &spec.Addresses,
	}
	if err := s.edit(c, edit); err != nil {
		return ShopCustomer{}, err
	}
	for _, m := range spec.Metafields {
		input := metafieldInput{namespace: s.namespace(m.Namespace), key: m.Key, kind: cmp.Or(m.Type, "single_line_text_field"), value: m.Value}
		if wrong := s.checkMetafield(c, input); wrong != nil {
			return ShopCustomer{}, &ShopError{422, wrong.message}
		}
		s.putMetafield(c, input.namespace, input.key, input.kind, input.value)
	}
	return *s.commit(nil, c).clone(), nil
}

// EditCustomer changes a customer and sends customers/update and what else follows
// from the change.
func (s *Shop) EditCustomer(id string, edit CustomerEdit) (ShopCustomer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.store.find(id)
	if old == nil {
		return ShopCustomer{}, noCustomer(id)
	}
	c := old.clone()
	if err := s.edit(c, edit); err != nil {
		return ShopCustomer{}, err
	}
	return *s.commit(old, c).clone(), nil
}

func (s *Shop) edit(c *ShopCustomer, edit CustomerEdit) error {
	input := map[string]any{}
	for name, value := range map[string]*string{
		"email": edit.Email, "phone": edit.Phone, "firstName": edit.FirstName, "lastName": edit.LastName, "note": edit.Note,
	} {
		if value != nil {
			input[name] = *value
		}
	}
	if edit.Tags != nil {
		input["tags"] = toAny(*edit.Tags)
	}
	if errs := s.applyInput(c, input); len(errs) > 0 {
		return &ShopError{422, errs[0].message}
	}
	set(&c.State, edit.State)
	set(&c.VerifiedEmail, edit.VerifiedEmail)
	set(&c.Subject, edit.Subject)
	set(&c.EmailConsent, edit.EmailConsent)
	set(&c.MergeBlockers, edit.MergeBlockers)
	set(&c.Orders, edit.Orders)
	if edit.Addresses != nil {
		c.Addresses = append([]ShopAddress{}, *edit.Addresses...)
		for i := range c.Addresses {
			c.Addresses[i].Number = cmp.Or(c.Addresses[i].Number, s.number())
		}
	}
	return nil
}

func set[T any](into, value *T) {
	if value != nil {
		*into = *value
	}
}

// DeleteCustomer deletes a customer and sends customers/delete. It fails for one
// with orders.
func (s *Shop) DeleteCustomer(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.store.find(id)
	switch {
	case c == nil:
		return noCustomer(id)
	case c.Orders > 0:
		return &ShopError{422, "a customer with orders cannot be deleted"}
	}
	s.drop(c)
	return nil
}

// AddOrder counts an order of a customer, who from then on cannot be deleted.
func (s *Shop) AddOrder(id string) (ShopCustomer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.store.find(id)
	if old == nil {
		return ShopCustomer{}, noCustomer(id)
	}
	c := old.clone()
	c.Orders++
	return *s.commit(old, c).clone(), nil
}

// Customer returns a customer as it is now.
func (s *Shop) Customer(id string) (ShopCustomer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.store.find(id)
	if c == nil {
		return ShopCustomer{}, noCustomer(id)
	}
	return *c.clone(), nil
}

// CustomerByEmail returns the customer with an e-mail, in any case.
func (s *Shop) CustomerByEmail(email string) (ShopCustomer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.store.findEmail(email)
	if c == nil {
		return ShopCustomer{}, noCustomer("with the e-mail " + email)
	}
	return *c.clone(), nil
}

// Customers returns all customers in the order of their ids.
func (s *Shop) Customers() []ShopCustomer {
	s.mu.Lock()
	defer s.mu.Unlock()
	stored := s.store.all()
	list := make([]ShopCustomer, len(stored))
	for i, c := range stored {
		list[i] = *c.clone()
	}
	return list
}

// CustomerCount is the number of customers.
func (s *Shop) CustomerCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.store.byNumber)
}

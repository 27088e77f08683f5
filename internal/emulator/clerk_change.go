package emulator

// CreateUser makes a user and sends user.created. It fails with a *ClerkError
// when an identifier is taken or the instance is full.
func (c *Clerk) CreateUser(spec UserSpec) (User, error) {
	u := c.newUser(spec)
	c.mu.Lock()
	err := c.users.insert(u)
	c.mu.Unlock()
	if err != nil {
		return User{}, err
	}
	return *u, c.announce("user.created", u)
}

// UpdateUser changes a user and sends user.updated. It fails with a *ClerkError
// when there is no such user or an identifier is taken.
func (c *Clerk) UpdateUser(id string, change UserChange) (User, error) {
	return c.change(id, func(u *User, at int64) error { return c.apply(u, change, at) })
}

// DeleteUser deletes a user and sends user.deleted. It fails with a *ClerkError
// when there is no such user.
func (c *Clerk) DeleteUser(id string) error {
	c.mu.Lock()
	u := c.users.get(id)
	if u == nil {
		c.mu.Unlock()
		return notFound(id)
	}
	c.users.remove(u)
	c.mu.Unlock()
	_, err := c.Emit(Event{Type: "user.deleted", Data: deletedObject{"user", u.ID, true, u.ExternalID}})
	return err
}

// User returns a user as it is now. It fails with a *ClerkError when there is
// no such user.
func (c *Clerk) User(id string) (User, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	u := c.users.get(id)
	if u == nil {
		return User{}, notFound(id)
	}
	return *u, nil
}

// Users returns all users, oldest first.
func (c *Clerk) Users() []User {
	c.mu.RLock()
	defer c.mu.RUnlock()
	users := make([]User, len(c.users.byCreation))
	for i, place := range c.users.byCreation {
		users[i] = *place.user
	}
	return users
}

// UserCount is the number of users.
func (c *Clerk) UserCount() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.users.byID)
}

// change gives a user a new version and announces it. A change that fails
// leaves the user as it was.
func (c *Clerk) change(id string, edit func(u *User, at int64) error) (User, error) {
	u, err := c.store(id, edit)
	if err != nil {
		return User{}, err
	}
	return *u, c.announce("user.updated", u)
}

func (c *Clerk) store(id string, edit func(u *User, at int64) error) (*User, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.users.get(id)
	if old == nil {
		return nil, notFound(id)
	}
	u, at := old.clone(), c.clock.tick()
	if err := edit(u, at); err != nil {
		return nil, err
	}
	u.UpdatedAt = at
	return u, c.users.replace(u)
}

// announce sends the event of a new version.
func (c *Clerk) announce(kind string, u *User) error {
	_, err := c.Emit(Event{Type: kind, Data: u})
	return err
}

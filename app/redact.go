package app

import (
	"fmt"
	"io"
)

// String lists the settings; of the secret ones it says only whether they are
// there. A new setting stays hidden until it is added here.
func (c Config) String() string {
	return fmt.Sprintf("DATABASE_URL is %s, LOCKSTEP_ROLE_PASSWORD is %s, CLERK_SECRET_KEY is %s, CLERK_WEBHOOK_SECRET is %s, CLERK_ISSUER=%q LOCKSTEP_ADDR=%q CLERK_INSTANCE_ID=%q MEDUSA_MODE=%q MEDUSA_SCHEMA=%q MEDUSA_ACCOUNTS=%q",
		presence(c.DatabaseURL != ""), presence(c.RolePassword != ""), presence(c.ClerkSecretKey != ""), presence(len(c.ClerkWebhookSecrets) > 0), c.ClerkIssuer, c.Addr, c.ClerkInstanceID, c.MedusaMode, c.MedusaSchema, c.MedusaAccounts)
}

// Format prints String for every verb, %#v and %d included.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalText is String for JSON, YAML and log/slog.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func presence(set bool) string {
	if set {
		return "set"
	}
	return "not set"
}

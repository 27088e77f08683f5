package app

import (
	"fmt"
	"strings"

	"github.com/lockstephq/lockstep/medusa"
)

// MedusaAPIConfig says how to reach Medusa's Admin API.
type MedusaAPIConfig struct {
	URL           string
	Key           string
	AdminEmail    string
	AdminPassword string
}

// Format prints which of the settings are there, for every verb: most are secret.
func (c MedusaAPIConfig) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "MEDUSA_API_KEY is %s, MEDUSA_ADMIN_PASSWORD is %s", presence(c.Key != ""), presence(c.AdminPassword != ""))
}

// MarshalText is the same for JSON, YAML and log/slog.
func (c MedusaAPIConfig) MarshalText() ([]byte, error) { return fmt.Append(nil, c), nil }

func (s *settings) medusaAPI() MedusaAPIConfig {
	return MedusaAPIConfig{
		URL: s.get("MEDUSA_API_URL", "http://localhost:9000"), Key: s.get("MEDUSA_API_KEY", ""),
		AdminEmail: s.get("MEDUSA_ADMIN_EMAIL", ""), AdminPassword: s.get("MEDUSA_ADMIN_PASSWORD", ""),
	}
}

// checkMedusaAPI takes the settings one by one, so that an error names the right
// one.
func (s *settings) checkMedusaAPI(c MedusaAPIConfig) {
	const login = "MEDUSA_ADMIN_EMAIL and MEDUSA_ADMIN_PASSWORD of an admin user"
	switch {
	case c.AdminEmail != "" && c.AdminPassword == "":
		s.wrong("MEDUSA_ADMIN_PASSWORD", "is missing: set it to the password of the user in MEDUSA_ADMIN_EMAIL")
	case c.AdminEmail == "" && c.AdminPassword != "":
		s.wrong("MEDUSA_ADMIN_EMAIL", "is missing: set it to the admin user that MEDUSA_ADMIN_PASSWORD belongs to")
	case c.AdminEmail == "" && c.Key == "":
		s.wrong("MEDUSA_API_KEY", "is missing: set it to a secret key (sk_…) from Medusa's admin, Settings, Secret API Keys, or set %s", login)
	case c.AdminEmail == "" && !strings.HasPrefix(c.Key, "sk_"):
		s.wrong("MEDUSA_API_KEY", "is no secret key (sk_…): make one in Medusa's admin, Settings, Secret API Keys, or set %s", login)
	}
	if _, err := medusa.NewAPI(medusa.APIOptions{URL: c.URL, Key: "sk_"}); err != nil {
		s.wrong("MEDUSA_API_URL", "is no address: set it to the URL of Medusa's backend, such as http://localhost:9000")
	}
}

// target is Medusa through its Admin API.
func (c MedusaAPIConfig) target() (*medusa.API, error) {
	return medusa.NewAPI(medusa.APIOptions{URL: c.URL, Key: c.Key, AdminEmail: c.AdminEmail, AdminPassword: c.AdminPassword})
}

package emulator

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// medusaAccess is who is let in.
type medusaAccess struct {
	key, keyID      string
	email, password string
	userID          string
	signing         []byte // of logins
}

// SetSecretKey replaces the secret key: the old one is refused from now on, as
// when it was revoked in Medusa's admin.
func (m *Medusa) SetSecretKey(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.access.key = key
}

// SetAdmin replaces the login of the one admin.
func (m *Medusa) SetAdmin(email, password string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.access.email, m.access.password = email, password
}

// EndLogins makes all tokens invalid, as when Medusa gets another jwtSecret.
func (m *Medusa) EndLogins() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.access.signing = m.random.bytes(32)
}

// claims of a login; Medusa has more.
type medusaClaims struct {
	ActorID   string `json:"actor_id"`
	ActorType string `json:"actor_type"`
	IssuedAt  int64  `json:"iat"`
	Expires   int64  `json:"exp"`
}

const jwtHeader = `{"alg":"HS256","typ":"JWT"}`

// token signs a login. The caller holds the lock.
func (m *Medusa) token() string {
	now := m.options.Now()
	claims, _ := json.Marshal(medusaClaims{m.access.userID, "user", now.Unix(), now.Add(m.options.TokenLife).Unix()}) // a struct of strings and numbers
	enc := base64.RawURLEncoding
	head := enc.EncodeToString([]byte(jwtHeader)) + "." + enc.EncodeToString(claims)
	return head + "." + enc.EncodeToString(m.signature(head))
}

func (m *Medusa) signature(head string) []byte {
	mac := hmac.New(sha256.New, m.access.signing)
	mac.Write([]byte(head))
	return mac.Sum(nil)
}

// actor is whose token it is, or empty. The caller holds the lock.
func (m *Medusa) actor(token string) string {
	dot := strings.LastIndexByte(token, '.')
	if dot < 0 {
		return ""
	}
	given, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil || !hmac.Equal(given, m.signature(token[:dot])) {
		return ""
	}
	_, body, _ := strings.Cut(token[:dot], ".")
	data, err := base64.RawURLEncoding.DecodeString(body)
	var claims medusaClaims
	if err != nil || json.Unmarshal(data, &claims) != nil || !m.options.Now().Before(time.Unix(claims.Expires, 0)) {
		return ""
	}
	return claims.ActorID
}

// admit returns who asks, or refuses.
func (m *Medusa) admit(r *http.Request) (actor string, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch strings.ToLower(scheme) {
	case "bearer":
		if strings.HasPrefix(token, "sk_") {
			return "", &MedusaError{Status: http.StatusUnauthorized, Message: "A secret API key was passed as a Bearer token. Secret API keys must be sent " +
				"using HTTP Basic authentication instead (Authorization: Basic <secret-api-key>)."}
		}
		actor = m.actor(token)
	case "basic":
		if basicKey(token) == m.access.key {
			actor = m.access.keyID
		}
	}
	if actor == "" {
		return "", &MedusaError{Status: http.StatusUnauthorized, Message: "Unauthorized"}
	}
	return actor, nil
}

// basicKey takes a key bare or in base64, with or without a colon at its end.
// Behind the colon nothing may follow.
func basicKey(token string) string {
	if !strings.HasPrefix(token, "sk_") {
		decoded, err := base64.StdEncoding.DecodeString(token)
		if err != nil {
			return ""
		}
		token = string(decoded)
	}
	return strings.TrimSuffix(token, ":")
}

// logIn answers POST /auth/user/emailpass.
func (m *Medusa) logIn(w http.ResponseWriter, r *http.Request) {
	body, err := readMedusaBody(w, r)
	if err != nil {
		writeMedusaError(w, err)
		return
	}
	var email, password string
	for name, into := range map[string]*string{"email": &email, "password": &password} {
		if json.Unmarshal(body[name], into) != nil {
			*into = ""
		}
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	switch {
	case password == "":
		err = &MedusaError{http.StatusUnauthorized, "unauthorized", "Password should be a string"}
	case email != m.access.email || password != m.access.password:
		err = &MedusaError{http.StatusUnauthorized, "unauthorized", "Invalid email or password"}
	}
	if err != nil {
		writeMedusaError(w, err)
		return
	}
	writeMedusa(w, http.StatusOK, map[string]string{"token": m.token()})
}

// refreshLogin answers POST /auth/token/refresh.
func (m *Medusa) refreshLogin(w http.ResponseWriter, r *http.Request) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") || m.actor(token) == "" {
		writeMedusaError(w, &MedusaError{Status: http.StatusUnauthorized, Message: "Unauthorized"})
		return
	}
	writeMedusa(w, http.StatusOK, map[string]string{"token": m.token()})
}

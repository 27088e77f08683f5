package clerk

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lockstephq/lockstep"
)

type vectors struct {
	DocsExample struct {
		Secret, ID, Body, Signature string
		Timestamp                   int64
	} `json:"svix_docs_example"`
	BadSecrets []struct{ Name, Secret string } `json:"bad_secrets"`
	Vectors    []struct {
		Name, Secret, Body string
		Now                int64
		Headers            map[string]string
		Expect             struct{ OK bool }
	}
}

func readVectors(t *testing.T) (v vectors) {
	t.Helper()
	data, err := os.ReadFile("testdata/svix_vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func at(seconds int64) func() time.Time {
	return func() time.Time { return time.Unix(seconds, 0) }
}

func TestVerifyVectors(t *testing.T) {
	all := readVectors(t).Vectors
	if len(all) != 24 {
		t.Fatalf("%d vectors, want 24", len(all))
	}
	for _, vec := range all {
		t.Run(vec.Name, func(t *testing.T) {
			v, err := NewWebhookVerifier([]string{vec.Secret}, at(vec.Now))
			if err != nil {
				t.Fatal(err)
			}
			h := http.Header{}
			for k, val := range vec.Headers {
				h.Set(k, val)
			}
			if _, err := v.Verify(h, []byte(vec.Body)); (err == nil) != vec.Expect.OK {
				t.Errorf("Verify: %v, want ok=%v", err, vec.Expect.OK)
			}
		})
	}
}

// The documentation's own example has a key of 18 bytes, which we refuse as a
// setting; the algorithm must agree with it all the same.
func TestSignDocsExample(t *testing.T) {
	ex := readVectors(t).DocsExample
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(ex.Secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	got := "v1," + base64.StdEncoding.EncodeToString(sign(key, ex.ID, "1731705121", []byte(ex.Body)))
	if got != ex.Signature {
		t.Errorf("got %s, want %s", got, ex.Signature)
	}
}

func TestBadSecretsAreRefused(t *testing.T) {
	secrets := map[string]string{"none": "", "spaces": "  ", "docs example": readVectors(t).DocsExample.Secret}
	for _, bad := range readVectors(t).BadSecrets {
		secrets[bad.Name] = bad.Secret
	}
	for name, secret := range secrets {
		_, err := NewWebhookVerifier([]string{secret}, time.Now)
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if len(secret) > 10 && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error repeats the secret", name)
		}
	}
	if _, err := NewWebhookVerifier(nil, time.Now); err == nil {
		t.Error("no secret at all: accepted")
	}
}

func TestVerifyWithSeveralSecrets(t *testing.T) {
	vec := readVectors(t).Vectors[0]
	other := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", minKeyBytes)))
	v, err := NewWebhookVerifier([]string{other, vec.Secret}, at(vec.Now))
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	for k, val := range vec.Headers {
		h.Set(k, val)
	}
	if id, err := v.Verify(h, []byte(vec.Body)); err != nil || id != "msg_synth0001" {
		t.Errorf("Verify = %q, %v", id, err)
	}
	// Half of one set and half of the other is neither.
	h.Del("svix-id")
	h.Set("webhook-id", "msg_synth0001")
	if _, err := v.Verify(h, []byte(vec.Body)); !errors.Is(err, ErrHeaders) {
		t.Errorf("mixed header sets: %v, want ErrHeaders", err)
	}
}

func TestDecodeFixtures(t *testing.T) {
	ms := func(n int64) time.Time { return time.UnixMilli(n).UTC() }
	const ada, ins = "user_2tSYNTHada00000000000000000", "ins_2tSYNTHinstance000000000000"
	img := func(s string) string { return "https://img.clerk.com/" + s }
	want := map[string]Event{
		"user.created.json": {"user.created", ins, lockstep.User{ID: ada, FirstName: "Ada", Email: "ada@example.test", EmailVerified: true,
			AvatarURL: img("eyJ0eXBlIjoiZGVmYXVsdCIsImlpZCI6Imluc18ydFNZTlRIaW5zdGFuY2UwMDAwMDAwMDAwMDAiLCJyaWQiOiJ1c2VyXzJ0U1lOVEhhZGEwMDAwMDAwMDAwMDAwMDAwMCIsImluaXRpYWxzIjoiQUUifQ"),
			LastName:  "Example", CreatedAt: ms(1771934405123), UpdatedAt: ms(1771934405154)}},
		"user.updated.json": {"user.updated", ins, lockstep.User{ID: ada, FirstName: "Ada", LastName: "Example-Lovelace",
			Email: "ada.lovelace@gmail.example", EmailVerified: true, // the second entry: the primary is named by id
			AvatarURL: img("eyJ0eXBlIjoicHJveHkiLCJpaWQiOiJpbnNfMnRTWU5USGluc3RhbmNlMDAwMDAwMDAwMDAwIiwicmlkIjoidXNlcl8ydFNZTlRIYWRhMDAwMDAwMDAwMDAwMDAwMDAifQ"),
			CreatedAt: ms(1771934405123), UpdatedAt: ms(1772020805123)}},
		"user.deleted.json": {"user.deleted", ins, lockstep.User{ID: ada, Deleted: true}},
		"user.created.phone_only.json": {"user.created", ins, lockstep.User{ID: "user_2tSYNTHphone000000000000000", Phone: "+15555550100", PhoneVerified: true,
			AvatarURL: img("eyJ0eXBlIjoiZGVmYXVsdCIsImlpZCI6Imluc18ydFNZTlRIaW5zdGFuY2UwMDAwMDAwMDAwMDAiLCJyaWQiOiJ1c2VyXzJ0U1lOVEhwaG9uZTAwMDAwMDAwMDAwMDAwMCJ9"),
			CreatedAt: ms(1771934406123), UpdatedAt: ms(1771934406143)}},
		"user.created.unverified_primary.json": {"user.created", ins, lockstep.User{ID: "user_2tSYNTHunverified0000000000", FirstName: "Uma", Email: "Uma.Mixed@Example.test",
			AvatarURL: img("eyJ0eXBlIjoiZGVmYXVsdCIsImlpZCI6Imluc18ydFNZTlRIaW5zdGFuY2UwMDAwMDAwMDAwMDAiLCJyaWQiOiJ1c2VyXzJ0U1lOVEh1bnZlcmlmaWVkMDAwMDAwMDAwMCJ9"),
			CreatedAt: ms(1771934405123), UpdatedAt: ms(1771934405133)}},
		"user.created.dashboard_example.json": {"user.created", ins, lockstep.User{ID: "user_2tSYNTHexample0000000000000", FirstName: "John", LastName: "Doe",
			AvatarURL: img("xxxxxx"), CreatedAt: ms(1716883200000), UpdatedAt: ms(1716883200000)}},
		"session.created.json": {Kind: "session.created", Instance: ins},
		"email.created.json":   {Kind: "email.created", Instance: ins},
	}
	files, err := filepath.Glob("testdata/webhooks/*.json")
	if err != nil || len(files) != len(want) {
		t.Fatalf("%d fixtures, %v; want %d", len(files), err, len(want))
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeEvent(body)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if diff := cmp.Diff(want[filepath.Base(file)], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

func TestDecodeRefusesAndQuotesNothing(t *testing.T) {
	for name, body := range map[string]string{
		"empty":            "",
		"not JSON":         "secret-word",
		"array":            `["secret-word"]`,
		"no type":          `{"data":{"id":"user_1"}}`,
		"data a string":    `{"type":"user.updated","data":"secret-word"}`,
		"no id":            `{"type":"user.updated","data":{"updated_at":1}}`,
		"another's id":     `{"type":"user.updated","data":{"id":"org_secret-word","updated_at":1}}`,
		"spaces in the id": `{"type":"user.updated","data":{"id":"user_secret-word x","updated_at":1}}`,
		"no updated_at":    `{"type":"user.updated","data":{"id":"user_1"}}`,
		"a far future":     `{"type":"user.updated","data":{"id":"user_1","updated_at":253402300800000}}`,
		"born too late":    `{"type":"user.updated","data":{"id":"user_1","updated_at":1,"created_at":9223372036854775807}}`,
		"update deletes":   `{"type":"user.updated","data":{"id":"user_1","deleted":true}}`,
		"deletion updates": `{"type":"user.deleted","data":{"id":"user_1","updated_at":1}}`,
		"float time":       `{"type":"user.updated","data":{"id":"user_1","updated_at":"secret-word"}}`,
	} {
		_, err := DecodeEvent([]byte(body))
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		} else if strings.Contains(err.Error(), "secret-word") {
			t.Errorf("%s: the error quotes the body", name)
		}
	}
}

func TestDecodeHardText(t *testing.T) {
	long := strings.Repeat("ä", 300)
	body := `{"type":"user.updated","data":{"id":"user_1","updated_at":1,"first_name":"A` + "\xff" + `B","last_name":"C\u0000D","username":"` + long + `"}}`
	e, err := DecodeEvent([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	want := lockstep.User{ID: "user_1", FirstName: "A\uFFFDB", LastName: "CD", Username: long,
		CreatedAt: time.UnixMilli(0).UTC(), UpdatedAt: time.UnixMilli(1).UTC()}
	if diff := cmp.Diff(want, e.User); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

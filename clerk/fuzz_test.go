package clerk

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
)

// FuzzVerify feeds whole tokens: no text but a token of ours, with its own
// signature, may be believed, and every refusal is ErrToken.
func FuzzVerify(f *testing.F) {
	v := newVerifier(f, nil)
	good := signed(f, testKeys()[0], goodHeader(), goodClaims())
	for _, s := range shapes(f) {
		f.Add(signed(f, testKeys()[1], s.Header, s.Claims))
	}
	f.Add(good)
	f.Add(good + ".")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		claims, err := v.Verify(t.Context(), token, false)
		if err == nil && token != good {
			t.Errorf("believed: %+v", claims)
		}
		if err != nil && !errors.Is(err, ErrToken) {
			t.Errorf("error %v", err)
		}
	})
}

// FuzzClaims feeds what stands behind a signature. encoding/json reads the same
// object by another way, and must agree.
func FuzzClaims(f *testing.F) {
	for _, s := range shapes(f) {
		claims, err := json.Marshal(s.Claims)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(claims))
	}
	f.Add(`{"sub":"user_a","sid":"s","exp":1,"nbf":1,"iat":1,"x":{"y":["}",{"sub":"user_b"}]},"act":null}`)
	f.Add(" {\t\"sub\" : \"us\\u0065r_a\" ,\n\"sid\":\"\\\"}\",\"exp\":1 ,\"nbf\":1,\"iat\":1}\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseClaims([]byte(text))
		if err != nil {
			if !errors.Is(err, ErrToken) {
				t.Errorf("error %v", err)
			}
			return
		}
		var all map[string]any
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		if err := decoder.Decode(&all); err != nil {
			t.Fatalf("believed what is no JSON: %v", err)
		}
		if all["sub"] != c.UserID || !validUserID(c.UserID) || asText(all["sid"]) != c.SessionID || c.SessionID == "" || asText(all["azp"]) != c.AuthorizedParty {
			t.Errorf("got %+v of %v", c, all)
		}
		for name, got := range map[string]int64{"exp": c.expiresAt, "nbf": c.notBefore, "iat": c.issuedAt} {
			number, ok := all[name].(json.Number)
			if want, err := number.Int64(); !ok || err != nil || want != got || got <= 0 {
				t.Errorf("%s: got %d of %v", name, got, all[name])
			}
		}
	})
}

func asText(v any) string {
	s, _ := v.(string)
	return clean(s)
}

// FuzzMembers: the members that the splitter finds are those of the object.
func FuzzMembers(f *testing.F) {
	f.Add(`{"a":1,"b":"}\"","c":[{"a":[]}],"d":{"e":{}},"f":null,"":-1.5e3}`)
	f.Add("{ }")
	f.Add(`{"a" : true , "b":[ ] }`)
	f.Fuzz(func(t *testing.T, text string) {
		object := []byte(strings.Trim(text, " \t\r\n"))
		if !json.Valid(object) || object[0] != '{' {
			return
		}
		var want map[string]any
		if err := json.Unmarshal(object, &want); err != nil {
			t.Skip() // a number that does not fit
		}
		got := map[string]any{}
		for name, value := range members(object) {
			var key string
			var v any
			if json.Unmarshal([]byte(`"`+string(name)+`"`), &key) != nil || json.Unmarshal(value, &v) != nil {
				t.Fatalf("%q: %q is no member", name, value)
			}
			got[key] = v
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// TestCorpusIsKept guards the found inputs, which go test replays.
func TestCorpusIsKept(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"FuzzVerify", "FuzzClaims", "FuzzMembers"} {
		if files, err := os.ReadDir("testdata/fuzz/" + target); err != nil || len(files) == 0 {
			t.Errorf("%s: %d files, %v", target, len(files), err)
		}
	}
}

package clerk

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"iter"
	"strconv"
	"strings"
)

// What the header of a session token says, as JSON. Its cat is one of these or
// absent: Clerk signs JWT-template tokens (…222AAA) and machine tokens (…333AAA)
// with the same key (github.com/clerk/javascript,
// packages/backend/src/tokens/jwtCategories.ts).
const (
	algRS256   = `"RS256"`
	typJWT     = `"JWT"`
	catSession = `"cl_B7d4PD111AAA"`
	catNothing = `"cl_I7d4PD111III"` // says nothing about the class
)

// base64url is the only way to write some bytes: RFC 7515 knows one.
var base64url = base64.RawURLEncoding.Strict()

// jwt is a compact token (RFC 7515) taken apart and not yet believed.
type jwt struct {
	signed    int // how many bytes of the token the signature covers
	keyID     string
	payload   []byte
	signature []byte
}

// parseJWT takes a token apart and checks its header.
func parseJWT(token string) (jwt, error) {
	head, rest, _ := strings.Cut(token, ".")
	body, tail, ok := strings.Cut(rest, ".")
	if !ok || head == "" || body == "" || tail == "" {
		return jwt{}, tokenError("not a JWT")
	}
	header, ok1 := decodePart(head)
	payload, ok2 := decodePart(body)
	signature, ok3 := decodePart(tail)
	if !ok1 || !ok2 || !ok3 {
		return jwt{}, tokenError("a part is not base64url")
	}
	keyID, err := parseHeader(header)
	return jwt{len(head) + 1 + len(body), keyID, payload, signature}, err
}

// decodePart decodes base64url as RFC 7515 writes it. Go's decoder would skip
// line breaks, which the length shows.
func decodePart(part string) ([]byte, bool) {
	data, err := base64url.DecodeString(part)
	return data, err == nil && len(data) == base64url.DecodedLen(len(part))
}

// parseHeader admits session tokens only and returns the key's id. It takes the
// algorithm from nowhere else: a token never chooses how it is verified.
func parseHeader(header []byte) (keyID string, err error) {
	var alg, typ, cat, kid, crit []byte
	if !collect(header, func(name []byte) *[]byte {
		switch string(name) {
		case "alg":
			return &alg
		case "typ":
			return &typ
		case "cat":
			return &cat
		case "kid":
			return &kid
		case "crit":
			return &crit
		}
		return nil
	}) {
		return "", tokenError("malformed header")
	}
	var read reader
	keyID = read.text(kid)
	switch {
	case string(alg) != algRS256:
		err = tokenError("the algorithm is not RS256")
	case string(typ) != typJWT:
		err = tokenError("the type is not JWT")
	case !absent(cat) && string(cat) != catSession && string(cat) != catNothing:
		err = tokenError("not a session token")
	case crit != nil:
		err = tokenError("a critical extension")
	case read.bad:
		err = tokenError("malformed header")
	}
	return keyID, err
}

// collect puts the raw values of a JSON object's members where slot says; nil
// is for members nobody asked for. Names are compared exactly, unlike in
// encoding/json, where an instance's custom claim "STS" would stand for "sts";
// a name that slot knows may not come twice.
func collect(object []byte, slot func(name []byte) *[]byte) (ok bool) {
	object = bytes.Trim(object, " \t\r\n")
	if len(object) == 0 || object[0] != '{' || !json.Valid(object) {
		return false
	}
	for name, value := range members(object) {
		into := slot(name)
		if into == nil {
			continue
		}
		if *into != nil {
			return false
		}
		*into = value
	}
	return true
}

// members yields the names, as written between their quotes, and the raw values
// of an object that json.Valid has accepted: it relies on the syntax.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		at := skipSpace(object, 1)
		for object[at] != '}' {
			end := skipString(object, at)
			name := object[at+1 : end-1]
			at = skipSpace(object, skipSpace(object, end)+1) // past the colon
			end = skipValue(object, at)
			if !yield(name, object[at:end:end]) {
				return
			}
			if at = skipSpace(object, end); object[at] == ',' {
				at = skipSpace(object, at+1)
			}
		}
	}
}

func skipSpace(data []byte, at int) int {
	for data[at] == ' ' || data[at] == '\t' || data[at] == '\n' || data[at] == '\r' {
		at++
	}
	return at
}

func skipString(data []byte, at int) int {
	for at++; data[at] != '"'; at++ {
		if data[at] == '\\' {
			at++
		}
	}
	return at + 1
}

func skipValue(data []byte, at int) int {
	depth := 0
	for {
		switch data[at] {
		case '"':
			at = skipString(data, at) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return at // the object that the value is in ends
			}
			depth--
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return at
			}
		}
		at++
		if depth == 0 && (data[at-1] == '"' || data[at-1] == '}' || data[at-1] == ']') {
			return at
		}
	}
}

// reader reads raw values and remembers whether one had the wrong type. Absent
// and null are the same.
type reader struct{ bad bool }

func absent(raw []byte) bool { return raw == nil || string(raw) == "null" }

func (r *reader) text(raw []byte) (s string) {
	if absent(raw) {
		return ""
	}
	if raw[0] == '"' && plain(raw) {
		return string(raw[1 : len(raw)-1])
	}
	r.bad = r.bad || json.Unmarshal(raw, &s) != nil
	return clean(s)
}

// plain reports whether a string stands for itself.
func plain(raw []byte) bool {
	for _, c := range raw {
		if c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}

// integer reads a whole number; zero if there is none.
func (r *reader) integer(raw []byte) int64 {
	if absent(raw) {
		return 0
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	r.bad = r.bad || err != nil
	return n
}

// seconds reads a time of RFC 7519 that must be there.
func (r *reader) seconds(raw []byte) int64 {
	n := r.integer(raw)
	r.bad = r.bad || n <= 0
	return n
}

func (r *reader) object(raw []byte, into any) {
	if !absent(raw) {
		r.bad = r.bad || json.Unmarshal(raw, into) != nil
	}
}

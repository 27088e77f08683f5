package shopify

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lockstephq/lockstep"
)

// topErrors is an answer with one error above the data, worded carelessly.
func topErrors(code string) string {
	return `{"errors":[{"message":"no: ada@example.test +4520123456 Byron","path":["customerSet","ada@example.test"],"extensions":{"code":"` + code + `","value":"ada@example.test"}}]}`
}

func refusedBy(code, field, message string) string {
	return `{"data":{"customerSet":{"customer":null,"userErrors":[{"code":` + code + `,"field":` + field + `,"message":"` + message + ` ada@example.test"}]}}}`
}

type answered struct {
	status int
	body   string
	header http.Header
}

// TestAnswers: what each answer means to a read and to a write.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const (
		transient, unknown, throttled = lockstep.ErrTransient, lockstep.ErrUnknown, lockstep.ErrThrottled
		refused, invalid, taken, gone = lockstep.ErrRefused, lockstep.ErrInvalid, lockstep.ErrTaken, lockstep.ErrGone
	)
	tests := map[string]struct {
		answered
		read, write lockstep.ErrorKind
	}{
		"THROTTLED":             {answered{200, topErrors("THROTTLED"), nil}, throttled, throttled},
		"429":                   {answered{429, `{"errors":"Too many"}`, http.Header{"Retry-After": {"2.0"}}}, throttled, throttled},
		"430":                   {answered{430, ``, nil}, throttled, throttled},
		"500":                   {answered{500, `ada@example.test`, nil}, transient, unknown},
		"502":                   {answered{502, `<html>`, nil}, transient, unknown},
		"503":                   {answered{503, ``, http.Header{"Retry-After": {"1"}}}, transient, unknown},
		"408":                   {answered{408, ``, nil}, transient, unknown},
		"204":                   {answered{204, ``, nil}, transient, unknown},
		"INTERNAL_SERVER_ERROR": {answered{200, topErrors("INTERNAL_SERVER_ERROR"), nil}, transient, unknown},
		"TIMEOUT":               {answered{200, topErrors("TIMEOUT"), nil}, transient, unknown},
		"no code":               {answered{200, `{"errors":"ada@example.test"}`, nil}, transient, unknown},
		"HTML":                  {answered{200, `<html>ada@example.test`, nil}, transient, unknown},
		"cut off":               {answered{200, `{"data":{"customer`, nil}, transient, unknown},
		"empty":                 {answered{200, `{}`, nil}, transient, unknown},
		"of another schema":     {answered{200, `{"data":{"byUser":7,"customerSet":7}}`, nil}, transient, unknown},
		"401":                   {answered{401, `{"errors":"[API] Invalid API key"}`, nil}, refused, refused},
		"402":                   {answered{402, `{"errors":"Unavailable Shop"}`, nil}, refused, refused},
		"403":                   {answered{403, `{"errors":{"base":"no"}}`, nil}, refused, refused},
		"404":                   {answered{404, `{"errors":"Not Found"}`, nil}, refused, refused},
		"423":                   {answered{423, `{"errors":"Locked"}`, nil}, refused, refused},
		"302":                   {answered{302, ``, http.Header{"Location": {"https://elsewhere.test/"}}}, refused, refused},
		"307":                   {answered{307, ``, http.Header{"Location": {"/elsewhere"}}}, refused, refused},
		"ACCESS_DENIED":         {answered{200, topErrors("ACCESS_DENIED"), nil}, refused, refused},
		"SHOP_INACTIVE":         {answered{200, topErrors("SHOP_INACTIVE"), nil}, refused, refused},
		"undefinedField":        {answered{200, topErrors("undefinedField"), nil}, refused, refused},
		"400":                   {answered{400, `{"errors":"bad"}`, nil}, invalid, invalid},
		"INVALID_VARIABLE":      {answered{200, topErrors("INVALID_VARIABLE"), nil}, invalid, invalid},
		"418":                   {answered{418, ``, nil}, transient, transient},

		"TAKEN":        {answered{200, refusedBy(`"TAKEN"`, `["input","email"]`, "Email has already been taken"), nil}, "", taken},
		"STALE_OBJECT": {answered{200, refusedBy(`"STALE_OBJECT"`, `["metafields","0"]`, "stale"), nil}, "", taken},
		"not unique":   {answered{200, refusedBy(`null`, `["input"]`, "Value is already assigned to another metafield."), nil}, "", taken},
		"NOT_FOUND":    {answered{200, refusedBy(`"NOT_FOUND"`, `["input"]`, "no"), nil}, "", gone},
		"gone":         {answered{200, refusedBy(`null`, `["id"]`, "Customer does not exist"), nil}, "", gone},
		"INVALID":      {answered{200, refusedBy(`"INVALID"`, `["input","email"]`, "Email is invalid"), nil}, "", invalid},
		"TOO_LONG":     {answered{200, refusedBy(`"TOO_LONG"`, `["input","firstName"]`, "long"), nil}, "", invalid},
		"BLANK":        {answered{200, refusedBy(`"BLANK"`, `null`, "A name, phone number, or email address must be present"), nil}, "", invalid},
		"new code":     {answered{200, refusedBy(`"BRAND_NEW"`, `["input"]`, "no"), nil}, "", invalid},
		"another app":  {answered{200, refusedBy(`"APP_NOT_AUTHORIZED"`, `["input"]`, "no"), nil}, "", refused},
		"internal":     {answered{200, refusedBy(`"INTERNAL_ERROR"`, `["input"]`, "no"), nil}, "", unknown},
		"no customer":  {answered{200, `{"data":{"customerSet":{"customer":null,"userErrors":[]}}}`, nil}, "", unknown},
		"phone still":  {answered{200, refusedBy(`"TAKEN"`, `["input","phone"]`, "Phone has already been taken"), nil}, "", invalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shop := newFakeShop(t, func(w http.ResponseWriter, _ request) {
				for key, values := range tt.header {
					w.Header()[key] = values
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			target := newTestTarget(t, shop.URL)
			if tt.read != "" {
				judge(t, "read", readIt(t.Context(), target), tt.read)
			}
			judge(t, "write", writeIt(t.Context(), target), tt.write)
		})
	}
}

// judge checks an error's kind, that it says how long to wait or what to do, and
// that it repeats nothing of what Shopify quoted.
func judge(t *testing.T, what string, err error, kind lockstep.ErrorKind) {
	t.Helper()
	if err == nil || lockstep.KindOf(err) != kind {
		t.Errorf("%s: got %v, want %q", what, err, kind)
		return
	}
	te, ok := errors.AsType[*lockstep.TargetError](err)
	if !ok || (te.After > 0) != (kind == lockstep.ErrThrottled) {
		t.Errorf("%s: wait is wrong: %v", what, err)
	}
	if kind == lockstep.ErrRefused && !strings.Contains(err.Error(), ": ") {
		t.Errorf("%s: no advice: %v", what, err)
	}
	noPersonal(t, err.Error())
}

func noPersonal(t *testing.T, text string) {
	t.Helper()
	for _, word := range []string{"ada@", "example.test", "byron", "20123456", "shpat_", "shpss_"} {
		if strings.Contains(strings.ToLower(text), word) {
			t.Errorf("%q is in %s", word, text)
		}
	}
}

// TestWaits: a limit says how long to wait.
func TestWaits(t *testing.T) {
	t.Parallel()
	cost := `,"extensions":{"cost":{"requestedQueryCost":15,"actualQueryCost":null,"throttleStatus":{"maximumAvailable":2000,"currentlyAvailable":5,"restoreRate":100}}}}`
	tests := map[string]struct {
		answered
		want time.Duration
	}{
		"by points":      {answered{200, strings.TrimSuffix(topErrors("THROTTLED"), "}") + cost, nil}, 100 * time.Millisecond},
		"without points": {answered{200, topErrors("THROTTLED"), nil}, time.Second},
		"seconds":        {answered{429, ``, http.Header{"Retry-After": {"2.5"}}}, 2500 * time.Millisecond},
		"too long":       {answered{429, ``, http.Header{"Retry-After": {"86400"}}}, 5 * time.Minute},
		"a past date":    {answered{429, ``, http.Header{"Retry-After": {"Mon, 02 Jan 2006 15:04:05 GMT"}}}, 50 * time.Millisecond},
		"nonsense":       {answered{429, ``, http.Header{"Retry-After": {"soon"}}}, time.Second},
		"nothing":        {answered{429, ``, nil}, time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shop := newFakeShop(t, func(w http.ResponseWriter, _ request) {
				for key, values := range tt.header {
					w.Header()[key] = values
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			te, ok := errors.AsType[*lockstep.TargetError](readIt(t.Context(), newTestTarget(t, shop.URL)))
			if !ok || te.After != tt.want {
				t.Errorf("got %v, want %s", te, tt.want)
			}
		})
	}
}

// TestNamesOnly: of Shopify's errors only names are repeated.
func TestNamesOnly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"TAKEN": "TAKEN", "customer_set": "customer_set", "0": "0", "": "",
		"ada@example.test": "…", "+4520123456": "…", "4520123456": "…", "Ada Byron": "…", strings.Repeat("a", 61): "…",
	} {
		if got := name(text); got != want {
			t.Errorf("name(%q) is %q, want %q", text, got, want)
		}
	}
	path := []string{"input", "ada@example.test"}
	if got := codeAndPath("TAKEN", path); got != "TAKEN (input.…)" || path[1] != "ada@example.test" {
		t.Errorf("got %q, path %q", got, path)
	}
	if got := codeAndPath("", nil); got != "an error without code" {
		t.Error(got)
	}
}

// TestAdvice: every refusal of the shop says what to do, and no two alike.
func TestAdvice(t *testing.T) {
	t.Parallel()
	op := operations(false)["set"]
	seen := map[string]int{}
	for _, status := range []int{401, 402, 403, 404, 423, 301} {
		err := op.statusError(status)
		text := fmt.Sprint(err)
		if lockstep.KindOf(err) != lockstep.ErrRefused || seen[text] != 0 || len(text) < 60 {
			t.Errorf("%d: %s", status, text)
		}
		seen[text] = status
	}
}

// TestLookTooDear: a list of ids that Shopify finds too dear is halved.
func TestLookTooDear(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var sizes []int
	shop := newFakeShop(t, func(w http.ResponseWriter, r request) {
		n := strings.Count(r.variables, idPrefix)
		mu.Lock()
		sizes = append(sizes, n)
		mu.Unlock()
		if n > 3 {
			_, _ = io.WriteString(w, `{"errors":[{"message":"too dear","extensions":{"code":"MAX_COST_EXCEEDED"}}]}`)
			return
		}
		_, _ = io.WriteString(w, `{"data":{"nodes":[`+strings.TrimSuffix(strings.Repeat(ada+",", n), ",")+`]}}`)
	})
	target := newTestTarget(t, shop.URL)
	ids := make([]string, 10)
	for i := range ids {
		ids[i] = idPrefix + strconv.Itoa(i+1)
	}
	got, err := target.Look(t.Context(), ids, false)
	if err != nil || len(got.Customers) != len(ids) {
		t.Errorf("%d customers, %v, after requests of %v", len(got.Customers), err, sizes)
	}
}

package app_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lockstephq/lockstep/app"
)

// Every secret, and every value that is refused, holds the canary: no error
// and no print-out may repeat it.
const canary = "canary"

var (
	goodSecret  = "whsec_" + strings.Repeat("A", 32)
	goodURL     = "postgres://lockstep:" + canary + "@db.example.test:5432/shop"
	goodSetting = map[string]string{"DATABASE_URL": goodURL, "CLERK_WEBHOOK_SECRET": goodSecret,
		"CLERK_SECRET_KEY": "sk_test_" + canary, "CLERK_ISSUER": "https://clerk.example.test"}
)

// load reads settings from an environment, put over the good ones, and a file.
func load(t *testing.T, env map[string]string, file string, need app.Need) (app.Config, error) {
	t.Helper()
	all := map[string]string{}
	for _, m := range []map[string]string{goodSetting, env} {
		for name, value := range m {
			all[name] = value
		}
	}
	if file != "" {
		all["LOCKSTEP_CONFIG"] = filepath.Join(t.TempDir(), "settings.yaml")
		must(t, os.WriteFile(all["LOCKSTEP_CONFIG"], []byte(file), 0o600))
	}
	return app.LoadConfig(func(name string) string { return all[name] }, need)
}

// wantConfig compares the fields that want sets.
func wantConfig(t *testing.T, got, want app.Config) {
	t.Helper()
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range w.NumField() {
		if !w.Field(i).IsZero() && !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
			t.Errorf("%s is %q, want %q", w.Type().Field(i).Name, g.Field(i), w.Field(i))
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, err := load(t, nil, "", app.NeedWeb)
	must(t, err)
	wantConfig(t, got, app.Config{DatabaseURL: goodURL, ClerkWebhookSecrets: []string{goodSecret}, Addr: ":8080", MedusaSchema: "medusa",
		ClerkIssuer: "https://clerk.example.test", ClerkAPIURL: "https://api.clerk.com"})
}

func TestSettingsFromAFile(t *testing.T) {
	t.Parallel()
	second := "whsec_" + strings.Repeat("B", 32)
	got, err := load(t, map[string]string{"DATABASE_URL": "", "CLERK_WEBHOOK_SECRET": "", "PGPASSWORD": canary, "NEW_SECRET": second}, `
# a comment
DATABASE_URL: postgres://lockstep:${PGPASSWORD}@db.example.test:5432/shop
lockstep_addr: ":9090"
CLERK_WEBHOOK_SECRET:
  - `+goodSecret+`
  - ${NEW_SECRET}
CLERK_INSTANCE_ID:
MEDUSA_MODE: database
MEDUSA_SCHEMA: "shop"
LOCKSTEP_CORS_ORIGINS: [https://shop.example.test]
`, app.NeedWeb)
	must(t, err)
	wantConfig(t, got, app.Config{DatabaseURL: goodURL, ClerkWebhookSecrets: []string{goodSecret, second}, Addr: ":9090",
		MedusaMode: "database", MedusaSchema: "shop"})
}

func TestEnvironmentWinsOverFile(t *testing.T) {
	t.Parallel()
	got, err := load(t, map[string]string{"LOCKSTEP_ADDR": ":7070"}, "LOCKSTEP_ADDR: :9090\nMEDUSA_SCHEMA: shop\nDATABASE_URL: nonsense\n", app.NeedWeb)
	must(t, err)
	wantConfig(t, got, app.Config{DatabaseURL: goodURL, ClerkWebhookSecrets: []string{goodSecret}, Addr: ":7070", MedusaSchema: "shop"})
}

// lockstep.yaml is read if it is there. Not parallel: it is about the
// directory of the process.
func TestFileInTheDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	got, err := load(t, nil, "", app.NeedWeb)
	if err != nil || got.Addr != ":8080" {
		t.Errorf("without a file: %v", err)
	}
	must(t, os.WriteFile("lockstep.yaml", []byte("LOCKSTEP_ADDR: :6060\n"), 0o600))
	if got, err = load(t, nil, "", app.NeedWeb); err != nil || got.Addr != ":6060" {
		t.Errorf("with a file: address %q, %v", got.Addr, err)
	}
}

func TestSeveralSecretsInTheEnvironment(t *testing.T) {
	t.Parallel()
	second := "whsec_" + strings.Repeat("B", 32)
	got, err := load(t, map[string]string{"CLERK_WEBHOOK_SECRET": " " + goodSecret + " ,\n" + second + ",,"}, "", app.NeedWeb)
	must(t, err)
	if diff := cmp.Diff([]string{goodSecret, second}, got.ClerkWebhookSecrets); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// wantSettingError checks that an error names the setting, says what to type,
// and repeats no value.
func wantSettingError(t *testing.T, err error, name string, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error about %s", name)
	}
	text := err.Error()
	for _, want := range append(words, name+" ") {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	if strings.Contains(text, canary) {
		t.Errorf("%q repeats the value", text)
	}
}

func TestEmptySecret(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"", "  ", ",", "whsec_"} {
		_, err := load(t, map[string]string{"CLERK_WEBHOOK_SECRET": secret}, "", app.NeedWeb)
		wantSettingError(t, err, "CLERK_WEBHOOK_SECRET", "copy the signing secret", "Clerk's dashboard")
	}
	_, err := load(t, map[string]string{"CLERK_WEBHOOK_SECRET": ""}, "", app.NeedDatabase)
	must(t, err) // a worker takes no webhooks
}

func TestShortSecret(t *testing.T) {
	t.Parallel()
	const short = "Y2FuYXJ5" // base64 of the canary
	for _, secret := range []string{"whsec_" + short, short, goodSecret + ",whsec_" + short, "whsec_" + canary + "!", "whsec_" + strings.Repeat("A", 28)} {
		_, err := load(t, map[string]string{"CLERK_WEBHOOK_SECRET": secret}, "", app.NeedWeb)
		wantSettingError(t, err, "CLERK_WEBHOOK_SECRET", "copy the signing secret", "Clerk's dashboard")
		if strings.Contains(err.Error(), short) {
			t.Errorf("%q repeats the value", err)
		}
	}
}

func TestBadDatabaseURL(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"empty":            "",
		"blank":            " \n",
		"a word":           canary,
		"another database": "mysql://root:" + canary + "@host/shop",
		"Supabase's API":   "https://" + canary + ".supabase.co?apikey=" + canary,
		"bad port":         "postgres://user:" + canary + "@host:port/shop",
		"two at signs":     "postgres://user:" + canary + "@host:5432@/sh op?x",
		"bad sslmode":      "postgres://user:" + canary + "@host/shop?sslmode=" + canary,
		"keywords":         "host=db port=" + canary,
		"almost":           "postgrestor://user:" + canary + "@host/shop?x=1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, need := range []app.Need{app.NeedDatabase, app.NeedWeb} {
				_, err := load(t, map[string]string{"DATABASE_URL": url}, "", need)
				wantSettingError(t, err, "DATABASE_URL", "postgres://user:password@host:5432/database")
			}
		})
	}
}

func TestGoodDatabaseURLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgresql://user@host/shop", "postgres:///shop?host=/run/postgresql", "host=db user=lockstep password=a://b dbname=shop",
		"postgres://user:p%40ss@db.example.test:6543/postgres?sslmode=require",
	} {
		if _, err := load(t, map[string]string{"DATABASE_URL": url}, "", app.NeedDatabase); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestOtherBadSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, words string }{
		{"CLERK_SECRET_KEY", "", "copy the secret key (sk_…)"},
		{"CLERK_SECRET_KEY", canary, "copy the secret key (sk_…)"},
		{"CLERK_API_URL", "ftp://" + canary, "https://api.clerk.com"},
		{"CLERK_ISSUER", "", "Frontend API URL"},
		{"CLERK_ISSUER", canary, "Clerk's dashboard"},
		{"CLERK_JWT_KEY", canary, "Clerk's dashboard"},
		{"CLERK_AUTHORIZED_PARTIES", canary, "origins such as"},
		{"CLERK_INSTANCE_ID", canary, "ins_"},
		{"MEDUSA_MODE", canary, "database"},
		{"MEDUSA_ACCOUNTS", canary, "clerk"},
		{"MEDUSA_ACCOUNTS", "clerk", "MEDUSA_MODE=database"}, // there is no MEDUSA_MODE
		{"MEDUSA_ON_DELETE", canary, "keep, anonymise or delete"},
		{"SHOPIFY_ON_DELETE", canary, "keep, anonymise or delete"},
		{"MEDUSA_SCHEMA", canary + "\x00", "databaseSchema"},
		{"MEDUSA_SCHEMA", strings.Repeat(canary, 11), "databaseSchema"},
	} {
		_, err := load(t, map[string]string{c.name: c.value}, "", app.NeedWeb)
		wantSettingError(t, err, c.name, c.words)
	}
	for _, mode := range []string{"", "off", "database"} {
		_, err := load(t, map[string]string{"MEDUSA_MODE": mode}, "", app.NeedDatabase)
		must(t, err)
	}
	for _, accounts := range []string{"", "off", "clerk"} {
		_, err := load(t, map[string]string{"MEDUSA_MODE": "database", "MEDUSA_ACCOUNTS": accounts}, "", app.NeedDatabase)
		must(t, err)
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	t.Parallel()
	bad := map[string]string{"DATABASE_URL": canary, "CLERK_WEBHOOK_SECRET": "whsec_" + canary, "CLERK_INSTANCE_ID": canary,
		"CLERK_SECRET_KEY": canary, "CLERK_ISSUER": canary, "MEDUSA_MODE": canary, "MEDUSA_SCHEMA": strings.Repeat(canary, 11)}
	_, err := load(t, bad, "", app.NeedWeb)
	for name := range bad {
		wantSettingError(t, err, name)
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != len(bad) {
		t.Errorf("%d lines for %d settings:\n%v", lines, len(bad), err)
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	const path = "settings.yaml"
	for name, c := range map[string]struct {
		file  string
		words []string
	}{
		"unknown":          {"DATABASE_URI: " + canary, []string{path, `"DATABASE_URI"`, "docs/SETTINGS.md"}},
		"two unknown":      {"B: x\nA: y\n", []string{`"A"`, `"B"`}},
		"twice":            {"MEDUSA_MODE: " + canary + "\nmedusa_mode: off\n", []string{"MEDUSA_MODE twice"}},
		"not expanded":     {"DATABASE_URL: postgres://u:" + canary + "@${NO_SUCH}/x", []string{"DATABASE_URL", "${NO_SUCH}", "environment"}},
		"nested":           {"MEDUSA_SCHEMA: {a: " + canary + "}", []string{"MEDUSA_SCHEMA must be one value or a list"}},
		"nested in a list": {"MEDUSA_SCHEMA: [[" + canary + "]]", []string{"MEDUSA_SCHEMA must be one value or a list"}},
		"an env file":      {"DATABASE_URL=" + canary + "\nMEDUSA_MODE=" + canary, []string{"not valid YAML", "NAME: value"}},
		"no YAML":          {"DATABASE_URL: [" + canary, []string{"not valid YAML"}},
		"a list":           {"- " + canary, []string{"not valid YAML"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, nil, c.file, app.NeedDatabase)
			wantSettingError(t, err, path, c.words...)
		})
	}
}

func TestEmptyFile(t *testing.T) {
	t.Parallel()
	_, err := load(t, nil, "# nothing\n", app.NeedWeb)
	must(t, err)
}

func TestConfigNamesAMissingFile(t *testing.T) {
	t.Parallel()
	for _, file := range []string{filepath.Join(t.TempDir(), canary+".yaml"), t.TempDir()} {
		_, err := load(t, map[string]string{"LOCKSTEP_CONFIG": file}, "", app.NeedDatabase)
		wantSettingError(t, err, "LOCKSTEP_CONFIG", "cannot be read", "correct the path")
	}
}

// shown are the fields of Config that are no secret.
var shown = []string{"Addr", "ClerkIssuer", "ClerkInstanceID", "MedusaMode", "MedusaSchema", "MedusaAccounts"}

// fill puts a canary of its own into every text of v, those of parts to come
// included, and notes it under the field's name.
func fill(v reflect.Value, name string, values map[string]string) {
	switch v.Kind() {
	case reflect.String:
		values[name] = fmt.Sprintf("%s%d.", canary, len(values))
		v.SetString(values[name])
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), name, values)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), strings.TrimPrefix(name+"."+v.Type().Field(i).Name, "."), values)
		}
	}
}

func TestConfigNeverPrintsSecrets(t *testing.T) {
	t.Parallel()
	var c app.Config
	values := map[string]string{}
	fill(reflect.ValueOf(&c).Elem(), "", values)
	printed := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for what, v := range map[string]any{"value": c, "pointer": &c, "slice": []app.Config{c}, "map": map[string]app.Config{"c": c}, "field": struct{ C app.Config }{c}} {
			printed[verb+" "+what] = fmt.Sprintf(verb, v)
		}
	}
	for what, v := range map[string]any{"value": c, "pointer": &c, "field": struct{ C app.Config }{c}} {
		text, err := json.Marshal(v)
		must(t, err)
		printed["JSON "+what] = string(text)
		var out bytes.Buffer
		slog.New(slog.NewTextHandler(&out, nil)).Info("settings", "config", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("settings", "config", v)
		printed["slog "+what] = out.String()
	}
	for how, text := range printed {
		for name, value := range values {
			plain, hex := strings.Contains(text, value), strings.Contains(text, fmt.Sprintf("%x", value))
			if hex || plain != slices.Contains(shown, name) {
				t.Errorf("%s: %s is there: %v\n%s", how, name, plain || hex, text)
			}
		}
	}
}

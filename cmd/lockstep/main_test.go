package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/lockstephq/lockstep/internal/emulator"
	"github.com/lockstephq/lockstep/internal/standin"
	"github.com/lockstephq/lockstep/internal/testdb"
	"github.com/lockstephq/lockstep/internal/watch"
	"github.com/rogpeppe/go-internal/testscript"
)

// The stories in testdata run the real command in processes of its own, each
// story on a fresh database with Medusa's tables in it. $DATABASE_URL and the
// rest of the settings are there; Clerk is emulated in this process.
//
//	code N PROGRAM …      must exit with N; then stdout and stderr can be asked
//	until REGEX PROGRAM … runs until standard output matches
//	ready URL             waits for a 200
//	post URL JSON         must be answered 2xx; stdout is the answer
//	sql STATEMENT         runs as superuser
//	clerk create JSON     makes a user, in the form of emulator.UserSpec
//	clerk update ID JSON  changes one, in the form of emulator.UserChange
//	clerk delete ID
//	isjson                stdout is one JSON value and nothing else
func TestStories(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata", Setup: setup, RequireExplicitExec: true, RequireUniqueNames: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "until": until, "ready": ready, "post": post, "sql": sql, "clerk": clerk, "isjson": isJSON,
		},
	})
}

// What the command writes on standard error, its logs and errors, is searched for
// what nobody may read; standard output is what was asked for.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lockstep": func() {
		os.Exit(run(os.Args[1:], os.Stdout, watch.ToFile(os.Getenv(leaks), os.Stderr)))
	}})
}

// leaks names the file for what was found.
const leaks = "LOCKSTEP_TEST_LEAKS"

type clerkKey struct{}

// signingKey is made once: that takes a while.
var signingKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func setup(env *testscript.Env) error {
	t := env.T().(testing.TB)
	env.Setenv(leaks, filepath.Join(env.WorkDir, "leaks"))
	env.Defer(func() { watch.Noted(t, filepath.Join(env.WorkDir, "leaks")) })
	db := testdb.Bare(t, standin.Options{MedusaSchema: testdb.MedusaSchema})
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	other, err := freeAddr()
	if err != nil {
		return err
	}
	fake, err := newClerk(env, "http://"+addr+"/webhooks/clerk")
	if err != nil {
		return err
	}
	env.Values[clerkKey{}] = fake
	for _, s := range fake.Settings() {
		env.Setenv(s.Name, s.Value)
	}
	env.Setenv("DATABASE_URL", db.URL(standin.Owner))
	env.Setenv("SUPERUSER_URL", db.URL(""))
	env.Setenv("ROLE_URL", db.URL("lockstep_story")) // roles that stories make
	env.Setenv("DOCTOR_URL", db.URL("lockstep_doctor"))
	env.Setenv("MEDUSA_MODE", "database")
	env.Setenv("LOCKSTEP_ADDR", addr)
	env.Setenv("OTHER_ADDR", other)
	return nil
}

func newClerk(env *testscript.Env, webhooks string) (*emulator.Clerk, error) {
	key, err := signingKey()
	if err != nil {
		return nil, err
	}
	tries := make([]time.Duration, 5000) // of a webhook, until serve listens
	for i := 1; i < len(tries); i++ {
		tries[i] = 20 * time.Millisecond
	}
	fake, err := emulator.NewClerk(emulator.ClerkOptions{Key: key, WebhookURL: webhooks, Schedule: tries})
	if err != nil {
		return nil, err
	}
	api := httptest.NewServer(fake)
	fake.SetBaseURL(api.URL)
	env.Defer(func() {
		fake.Close()
		api.Close()
	})
	return fake, nil
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func wantArgs(ts *testscript.TestScript, neg bool, args []string, least int, usage string) {
	if neg || len(args) < least {
		ts.Fatalf("usage: %s", usage)
	}
}

func code(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, "code N PROGRAM …")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// poll asks until the answer is yes.
func poll(ts *testscript.TestScript, what string, ask func(context.Context) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ask(ctx) {
		select {
		case <-ctx.Done():
			ts.Fatalf("%s: never came true", what)
		case <-tick.C:
		}
	}
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, "until REGEX PROGRAM …")
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	poll(ts, strings.Join(args, " "), func(context.Context) bool {
		return ts.Exec(args[1], args[2:]...) == nil && want.MatchString(ts.ReadFile("stdout"))
	})
}

func ready(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "ready URL")
	poll(ts, args[0], func(ctx context.Context) bool {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
		ts.Check(err)
		resp, err := http.DefaultClient.Do(req)
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

func post(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, "post URL JSON")
	resp, err := http.Post(args[0], "application/json", strings.NewReader(args[1]))
	ts.Check(err)
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
	if resp.StatusCode/100 != 2 {
		ts.Fatalf("answered %s", resp.Status)
	}
}

func sql(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "sql STATEMENT")
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, ts.Getenv("SUPERUSER_URL"))
	ts.Check(err)
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, strings.Join(args, " "))
	ts.Check(err)
}

func clerk(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, "clerk create JSON, update ID JSON or delete ID")
	fake := ts.Value(clerkKey{}).(*emulator.Clerk)
	var err error
	switch args[0] {
	case "create":
		var spec emulator.UserSpec
		ts.Check(json.Unmarshal([]byte(args[1]), &spec))
		_, err = fake.CreateUser(spec)
	case "update":
		var change emulator.UserChange
		ts.Check(json.Unmarshal([]byte(args[2]), &change))
		_, err = fake.UpdateUser(args[1], change)
	case "delete":
		err = fake.DeleteUser(args[1])
	default:
		err = fmt.Errorf("clerk cannot %s", args[0])
	}
	ts.Check(err)
	ts.Check(fake.Webhooks.Wait(context.Background()))
}

func isJSON(ts *testscript.TestScript, neg bool, _ []string) {
	text := ts.ReadFile("stdout")
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	var v any
	err := d.Decode(&v)
	if _, rest := d.Token(); err != nil || !errors.Is(rest, io.EOF) {
		ts.Fatalf("not one JSON value: %v\n%s", err, text)
	}
}

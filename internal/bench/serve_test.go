package bench_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"

	"github.com/lockstephq/lockstep"
	"github.com/lockstephq/lockstep/app"
)

// Variables that make the test binary a `lockstep serve`.
const (
	roleVariable    = "LOCKSTEP_BENCH_ROLE"    // as --role
	shopsVariable   = "LOCKSTEP_BENCH_SHOPS"   // how many targets in memory
	nameVariable    = "LOCKSTEP_BENCH_NAME"    // of the profiles
	profileVariable = "LOCKSTEP_BENCH_PROFILE" // directory for them
)

// serveChild is `lockstep serve` until its standard input ends, which it does
// even if the parent is killed.
func serveChild(role string) error {
	if role == string(emptyRole) {
		return serveEmpty()
	}
	if role == shopBackfillRole {
		return shopBackfillChild()
	}
	stopProfile, err := startProfile(os.Getenv(profileVariable), os.Getenv(nameVariable))
	if err != nil {
		return err
	}
	config, err := app.LoadConfig(os.Getenv, app.NeedWeb)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(os.Getenv(shopsVariable))
	if err != nil {
		return err
	}
	var more []lockstep.Target
	for i := range n {
		more = append(more, newShop(fmt.Sprintf("shopify:shop%d.myshopify.com", i+1)))
	}
	a, err := app.Open(config, slog.New(slog.NewTextHandler(os.Stderr, nil)), app.WithExtraTargets(more...))
	if err != nil {
		return err
	}
	defer a.Close()
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // whatever ends it, the parent is gone
		stop()
	}()
	if err := a.Serve(ctx, app.Role(role), func(addr net.Addr) { fmt.Println(addr) }); err != nil {
		return err
	}
	return stopProfile()
}

func startProfile(dir, name string) (stop func() error, err error) {
	if dir == "" {
		return func() error { return nil }, nil
	}
	cpu, err := os.Create(filepath.Join(dir, name+".cpu.pprof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, err
	}
	return func() error {
		pprof.StopCPUProfile()
		heap, err := os.Create(filepath.Join(dir, name+".heap.pprof"))
		if err != nil {
			return err
		}
		defer func() { _ = heap.Close() }()
		return pprof.WriteHeapProfile(heap)
	}, nil
}

// server is a serve process, as its parent sees it.
type server struct {
	cmd  *exec.Cmd
	stop io.Closer // its standard input
	log  string
	addr string
}

// serve starts a process on the database of that name. Without shops, Medusa
// is its one target.
func (w *world) serve(b *testing.B, name string, role app.Role, shops int) *server {
	b.Helper()
	s := &server{cmd: exec.Command(os.Args[0], "-test.run=^$"), log: filepath.Join(b.TempDir(), name+".log")}
	log, err := os.Create(s.log)
	must(b, err)
	defer func() { must(b, log.Close()) }()
	s.cmd.Stderr = log
	s.cmd.Env = append(append(os.Environ(), w.events.env...), roleVariable+"="+string(role), nameVariable+"="+name, fmt.Sprintf("%s=%d", shopsVariable, shops),
		"DATABASE_URL="+w.pg.URL("postgres", name), "LOCKSTEP_ADDR=127.0.0.1:0",
		"MEDUSA_SCHEMA="+medusaSchema, "MEDUSA_MODE=off")
	if shops == 0 {
		s.cmd.Env = append(s.cmd.Env, "MEDUSA_MODE=database")
	}
	s.stop, err = s.cmd.StdinPipe()
	must(b, err)
	out, err := s.cmd.StdoutPipe()
	must(b, err)
	must(b, s.cmd.Start())
	b.Cleanup(func() {
		_ = s.stop.Close() // again, if it was stopped
		_ = s.cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		text, _ := os.ReadFile(s.log)
		b.Fatalf("serve: %v\n%s", err, text)
	}
	s.addr = strings.TrimSpace(line)
	return s
}

// end stops the process gracefully.
func (s *server) end(b *testing.B) {
	b.Helper()
	must(b, s.stop.Close())
	if err := s.cmd.Wait(); err != nil {
		text, _ := os.ReadFile(s.log)
		b.Fatalf("serve: %v\n%s", err, text)
	}
}

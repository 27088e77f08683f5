package localpg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// script is what the supervising shell runs, as the server's account, with the
// directory, the binaries' directory and the server's arguments. Orders come
// on its input, reports go to its output. It lasts until its input ends, which
// the kernel sees to when the process that started it is gone.
//
// While the server runs, watch has the input: an order and the end of input
// both stop the server at once. SIGQUIT does it; SIGTERM is for the instant
// before the server can handle signals, when it still ignores SIGQUIT.
const script = `
dir=$1 bin=$2
shift 2
umask 077
trap : HUP INT TERM
trap '' PIPE
exec 3<&0
cd / && mkdir "$dir" || exit
exec 2>>"$dir/log"

watch() {
	trap '' HUP INT TERM
	read -r order <&3
	kill -QUIT "$1" 2>/dev/null
	kill -TERM "$1" 2>/dev/null
}

serve() {
	"$bin/postgres" -D "$dir/data" "$@" </dev/null >>"$dir/log" 3<&- &
	server=$!
	watch "$server" &
	watcher=$!
	echo up
	# A trapped signal interrupts wait: go on while the server is there.
	while wait "$server"; status=$?; kill -0 "$server" 2>/dev/null; do :; done
	{ kill -KILL "$watcher"; wait "$watcher"; } 2>/dev/null
	echo "down: exit status $status"
}

if "$bin/initdb" -D "$dir/data" -U ` + Superuser + ` -A trust -E UTF8 --locale=C -N </dev/null >>"$dir/log"
then serve "$@"
else echo "initdb failed: exit status $?"
fi
while read -r order <&3; do
	if [ "$order" = start ]; then serve "$@"; fi
done
# A server that was killed may leave children that still write for a moment.
for attempt in 1 2 3 4 5; do
	rm -rf "$dir" && break
	sleep 1
done
`

// supervisor is the shell that owns a cluster's server and directory.
type supervisor struct {
	cmd     *exec.Cmd
	orders  *os.File      // its end ends the supervisor
	reports <-chan string // closed when the supervisor and its watcher are gone
}

// supervise starts the supervisor, which starts the server.
func supervise(account *syscall.Credential, bin, dir string, args []string) (*supervisor, error) {
	input, orders, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = input.Close() }()
	output, reports, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, orders.Close())
	}
	defer func() { _ = reports.Close() }()
	cmd := exec.Command("/bin/sh", append([]string{"-c", script, "lockstep-postgres", dir, bin}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, reports, reports
	cmd.Env = environment(os.Environ())
	// A group of its own: ^C in a terminal is for us, not for the server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: account}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, orders.Close(), output.Close())
	}
	return &supervisor{cmd: cmd, orders: orders, reports: lines(output)}, nil
}

// environment leaves out what would change the server: PGPORT and its like,
// and the locale, which initdb is told.
func environment(ours []string) []string {
	env := []string{"LC_ALL=C"}
	for _, entry := range ours {
		if !strings.HasPrefix(entry, "PG") && !strings.HasPrefix(entry, "LC_") {
			env = append(env, entry)
		}
	}
	return env
}

// lines delivers what r says, line by line, until it ends.
func lines(r io.ReadCloser) <-chan string {
	out := make(chan string)
	go func() {
		defer close(out)
		defer func() { _ = r.Close() }()
		for scanner := bufio.NewScanner(r); scanner.Scan(); {
			out <- scanner.Text()
		}
	}()
	return out
}

func (s *supervisor) order(word string) error {
	if _, err := io.WriteString(s.orders, word+"\n"); err != nil {
		return fmt.Errorf("order the supervisor of PostgreSQL to %s: %w", word, err)
	}
	return nil
}

// expect waits for the next report and returns an error unless it begins with
// the given word.
func (s *supervisor) expect(ctx context.Context, word string) error {
	select {
	case report, ok := <-s.reports:
		if !ok {
			return errors.New("the supervisor of PostgreSQL is gone")
		}
		if !strings.HasPrefix(report, word) {
			return errors.New(report)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end closes the supervisor's input and waits until it and the server are gone.
func (s *supervisor) end() {
	_ = s.orders.Close()
	for range s.reports {
	}
	_ = s.cmd.Wait() // how it ended says nothing: what is left behind does
}

package bench_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

const connections = 16

// sender is one keep-alive connection. It writes what was made before and
// reads the answer: net/http's client would take the processor from the server.
type sender struct {
	conn net.Conn
	in   *bufio.Reader
}

func dial(addr string) (*sender, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &sender{conn, bufio.NewReader(conn)}, nil
}

// send returns once the event is accepted; any other answer is an error.
func (s *sender) send(e event) error {
	if err := s.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := s.conn.Write(e.request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s was not accepted: %s: %s", e.user, resp.Status, text)
	}
	return nil
}

// closedLoop sends events over all connections, each sending the next one when
// its last was answered, until the time is up or the events are. It returns how
// long each took and the whole.
func closedLoop(b *testing.B, addr string, events []event, limit time.Duration) (took []time.Duration, whole time.Duration) {
	b.Helper()
	senders := dialAll(b, addr)
	lists := make([][]time.Duration, len(senders))
	var next atomic.Int64
	var group errgroup.Group
	start := time.Now()
	for i, s := range senders {
		group.Go(func() error {
			for sent := time.Now(); sent.Sub(start) < limit; {
				n := int(next.Add(1)) - 1
				if n >= len(events) {
					break
				}
				if err := s.send(events[n]); err != nil {
					return err
				}
				now := time.Now()
				lists[i] = append(lists[i], now.Sub(sent))
				sent = now
			}
			return s.conn.Close()
		})
	}
	must(b, group.Wait())
	whole = time.Since(start)
	return slices.Concat(lists...), whole
}

func dialAll(b *testing.B, addr string) []*sender {
	b.Helper()
	senders := make([]*sender, connections)
	for i := range senders {
		var err error
		senders[i], err = dial(addr)
		must(b, err)
	}
	return senders
}

// sent is an event's times on this machine's clock, which is the database's.
type sent struct {
	due, accepted time.Time
}

// openLoop sends events at a fixed pace, however long the answers take, and
// returns the times by user.
func openLoop(b *testing.B, addr string, events []event, pace time.Duration) map[string]sent {
	b.Helper()
	type job struct {
		n   int
		due time.Time
	}
	jobs := make(chan job, len(events)) // the pace never waits for a sender
	times := make([]sent, len(events))
	group, ctx := errgroup.WithContext(b.Context())
	for _, s := range dialAll(b, addr) {
		group.Go(func() error {
			for j := range jobs {
				if err := s.send(events[j.n]); err != nil {
					return err
				}
				times[j.n] = sent{j.due, time.Now()}
			}
			return s.conn.Close()
		})
	}
	start := time.Now()
	paced(ctx, start, len(events), pace, func(n int, due time.Time) { jobs <- job{n, due} })
	close(jobs)
	must(b, group.Wait())
	byUser := make(map[string]sent, len(events))
	for i, e := range events {
		byUser[e.user] = times[i]
	}
	return byUser
}

// paced calls f n times, also for the ticks that came late.
func paced(ctx context.Context, start time.Time, n int, pace time.Duration, f func(n int, due time.Time)) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := 0; i < n; {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for ; i < n && now.Sub(start) >= time.Duration(i)*pace; i++ {
				f(i, start.Add(time.Duration(i)*pace))
			}
		}
	}
}

// quantile is the value below which the share q lies.
func quantile[T time.Duration | float64](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	values = slices.Sorted(slices.Values(values))
	return values[min(int(q*float64(len(values))), len(values)-1)]
}

func median[T time.Duration | float64](values []T) T { return quantile(values, 0.5) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

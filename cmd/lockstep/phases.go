package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// phases tell a person what goes on, with the time since the start, and that it
// still goes on.
type phases struct {
	out   io.Writer
	start time.Time
	mu    sync.Mutex
	last  string
	quit  chan struct{}
	stop  func()
}

// stillEvery is how often a long phase is mentioned again.
const stillEvery = 5 * time.Second

func startPhases(out io.Writer) *phases {
	p := &phases{out: out, start: time.Now(), quit: make(chan struct{})}
	p.stop = sync.OnceFunc(func() { close(p.quit) })
	go p.remind()
	return p
}

// next begins a phase.
func (p *phases) next(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = what
	p.print(what)
}

func (p *phases) print(what string) {
	fmt.Fprintf(p.out, "%7.1fs  %s\n", time.Since(p.start).Seconds(), what)
}

func (p *phases) remind() {
	tick := time.NewTicker(stillEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-tick.C:
			p.mu.Lock()
			if p.last != "" {
				p.print("still " + p.last)
			}
			p.mu.Unlock()
		}
	}
}

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/lockstephq/lockstep/app"
	"github.com/schollz/progressbar/v3"
)

// lineEvery is how often progress is a line, where there is no terminal.
const lineEvery = 10 * time.Second

// newProgress shows how far a long command has come, with rate and time left: a
// bar on a terminal, else a line now and then. The second function ends it.
func newProgress(w io.Writer) (show func(app.Progress), end func()) {
	if !isTerminal(w) {
		return lineProgress(w), func() {}
	}
	var bar *progressbar.ProgressBar
	var part string
	finish := func() {
		if bar != nil {
			_ = bar.Finish() // it only draws
			fmt.Fprintln(w)
		}
	}
	return func(p app.Progress) {
		if p.What != part {
			finish()
			part, bar = p.What, newBar(w, p)
		}
		bar.ChangeMax(max(p.Total, p.Done, 1))
		_ = bar.Set(p.Done) // it only draws
	}, finish
}

func newBar(w io.Writer, p app.Progress) *progressbar.ProgressBar {
	return progressbar.NewOptions(max(p.Total, 1), progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(p.What),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetWidth(30))
}

// lineProgress says the same in lines.
func lineProgress(w io.Writer) func(app.Progress) {
	began := time.Now()
	said, part, first := began, "", 0
	return func(p app.Progress) {
		now := time.Now()
		if p.What != part {
			part, first, began = p.What, p.Done, now
		}
		if now.Sub(said) < lineEvery {
			return
		}
		said = now
		rate := float64(p.Done-first) / now.Sub(began).Seconds()
		line := fmt.Sprintf("%s: %d", p.What, p.Done)
		if p.Total > 0 {
			line += fmt.Sprintf(" of %d", p.Total)
		}
		if rate > 0 {
			line += fmt.Sprintf(", %.0f/s", rate)
			if left := float64(p.Total - p.Done); left > 0 {
				line += fmt.Sprintf(", %v left", time.Duration(left/rate*float64(time.Second)).Round(time.Second))
			}
		}
		fmt.Fprintln(w, line)
	}
}

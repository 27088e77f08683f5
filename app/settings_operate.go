package app

import (
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/lockstephq/lockstep/internal/observe"
	"github.com/lockstephq/lockstep/internal/web"
)

// minKeepDeliveries is above the time over which Svix repeats a delivery by
// itself, 27.6 hours, and Shopify, 4 hours.
const minKeepDeliveries = 48 * time.Hour

// operate reads the settings of whoever runs and watches Lockstep.
func (s *settings) operate(c *Config) {
	c.OperatorToken = s.get("LOCKSTEP_OPERATOR_TOKEN", "")
	if n := len(c.OperatorToken); n > 0 && n < web.MinOperatorToken {
		s.wrong("LOCKSTEP_OPERATOR_TOKEN", "has %d bytes, at least %d are needed: make one with `openssl rand -hex 32`, or leave it out", n, web.MinOperatorToken)
	}
	c.MetricsAddr = s.get("LOCKSTEP_METRICS_ADDR", "")
	c.LogFormat = strings.ToLower(s.get("LOCKSTEP_LOG_FORMAT", ""))
	if c.LogFormat != "" && c.LogFormat != "json" && c.LogFormat != "text" {
		s.wrong("LOCKSTEP_LOG_FORMAT", "must be json or text, or left out")
	}
	c.LogLevel = s.level("LOCKSTEP_LOG_LEVEL")
	c.WatchSilence = s.duration("LOCKSTEP_WATCH_SILENCE", "24h")
	c.WatchPending = s.duration("LOCKSTEP_WATCH_PENDING", "1h")
	c.KeepDeliveries = s.duration("LOCKSTEP_KEEP_DELIVERIES", "30d")
	if c.KeepDeliveries > 0 && c.KeepDeliveries < minKeepDeliveries {
		s.wrong("LOCKSTEP_KEEP_DELIVERIES", "must be at least 2d: senders repeat a delivery for over a day, and it is told from a new one by its row")
	}
	c.KeepHistory = s.duration("LOCKSTEP_KEEP_HISTORY", "180d")
	var err error
	if c.TracesURL, err = observe.TracesURL(s.getenv); errors.Is(err, observe.ErrTracesProtocol) {
		s.wrong("OTEL_EXPORTER_OTLP_PROTOCOL", "%w", err)
	} else if err != nil {
		s.wrong("OTEL_EXPORTER_OTLP_ENDPOINT", "%w", err)
	}
}

// mostDays bounds a duration: a hundred years.
const mostDays = 36_500

// duration reads 90m, 24h or 30d; 0 and off are zero.
func (s *settings) duration(name, fallback string) time.Duration {
	text := s.get(name, fallback)
	if text == "0" || strings.EqualFold(text, "off") {
		return 0
	}
	d, err := time.ParseDuration(text)
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(min(n, mostDays+1)) * 24 * time.Hour
	}
	if err != nil || d <= 0 || d > mostDays*24*time.Hour {
		s.wrong(name, "is not a duration: write one such as 90m, 24h or 30d, or off")
		return 0
	}
	return d
}

func (s *settings) level(name string) *slog.Level {
	text := s.get(name, "")
	if text == "" {
		return nil
	}
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(text, level.String()) {
			return &level
		}
	}
	s.wrong(name, "must be debug, info, warn or error, or left out")
	return nil
}

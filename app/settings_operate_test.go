package app_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/lockstephq/lockstep/app"
)

func TestOperatingSettings(t *testing.T) {
	t.Parallel()
	c, err := load(t, nil, "", app.NeedDatabase)
	must(t, err)
	if c.WatchSilence != 24*time.Hour || c.WatchPending != time.Hour || c.KeepDeliveries != 30*24*time.Hour || c.KeepHistory != 180*24*time.Hour ||
		c.OperatorToken != "" || c.LogLevel != nil || c.TracesURL != "" {
		t.Errorf("the defaults are off: %v %v %v %v", c.WatchSilence, c.WatchPending, c.KeepDeliveries, c.KeepHistory)
	}
	token := strings.Repeat("x", 32)
	c, err = load(t, map[string]string{"LOCKSTEP_LOG_LEVEL": "Debug", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, `
LOCKSTEP_OPERATOR_TOKEN: `+token+`
LOCKSTEP_WATCH_SILENCE: off
LOCKSTEP_WATCH_PENDING: 90m
LOCKSTEP_KEEP_DELIVERIES: 2d
LOCKSTEP_KEEP_HISTORY: 0
LOCKSTEP_LOG_FORMAT: JSON
`, app.NeedDatabase)
	must(t, err)
	if c.OperatorToken != token || c.WatchSilence != 0 || c.WatchPending != 90*time.Minute || c.KeepDeliveries != 48*time.Hour || c.KeepHistory != 0 ||
		c.LogFormat != "json" || c.LogLevel == nil || *c.LogLevel != slog.LevelDebug || c.TracesURL != "http://localhost:4318/v1/traces" {
		t.Error("a setting of the file or the environment is not taken")
	}
}

func TestBadOperatingSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, words string }{
		{"LOCKSTEP_OPERATOR_TOKEN", canary + strings.Repeat("x", 25), "at least 32"},
		{"LOCKSTEP_LOG_FORMAT", canary, "json or text"},
		{"LOCKSTEP_LOG_LEVEL", canary, "debug, info"},
		{"LOCKSTEP_WATCH_SILENCE", canary, "24h"},
		{"LOCKSTEP_WATCH_SILENCE", "-1h", "24h"},
		{"LOCKSTEP_WATCH_PENDING", "1", "24h"},
		{"LOCKSTEP_KEEP_DELIVERIES", "47h", "at least 2d"},
		{"LOCKSTEP_KEEP_HISTORY", "99999999999999d", "30d"},
		{"LOCKSTEP_KEEP_HISTORY", "xd", "30d"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", canary, "http://localhost:4318"},
	} {
		_, err := load(t, map[string]string{c.name: c.value}, "", app.NeedDatabase)
		wantSettingError(t, err, c.name, c.words)
	}
}

package localpg

import (
	"maps"
	"slices"
)

// arguments are the server's command line. Settings go there and not into
// postgresql.conf, so that nothing in the data directory can undo them.
func (o Options) arguments(dir, name string) []string {
	settings := map[string]string{
		"autovacuum":      "on",
		"log_checkpoints": "off",
		"log_timezone":    "UTC",
		"max_connections": "200",
		"shared_buffers":  "64MB",
		"timezone":        "UTC",
	}
	if !o.Fsync {
		// synchronous_commit stays on: without fsync it costs nearly nothing,
		// and off would lose the last commits at every Restart.
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	maps.Copy(settings, o.Settings)
	maps.Copy(settings, map[string]string{
		"cluster_name":            name,
		"listen_addresses":        "",
		"port":                    port,
		"unix_socket_directories": dir,
	})
	var args []string
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", key+"="+settings[key])
	}
	return args
}

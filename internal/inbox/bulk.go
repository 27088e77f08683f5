package inbox

import "context"

// AsBulk marks work that must leave a target's reserve to live changes.
func AsBulk(ctx context.Context) context.Context { return asBulk(ctx) }

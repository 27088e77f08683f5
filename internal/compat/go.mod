module github.com/lockstephq/lockstep/internal/compat

go 1.26.0

replace github.com/lockstephq/lockstep => ../..

require (
	github.com/clerk/clerk-sdk-go/v2 v2.7.0
	github.com/google/go-cmp v0.7.0
	github.com/lockstephq/lockstep v0.0.0-00010101000000-000000000000
	github.com/svix/svix-webhooks v1.90.0
)

require (
	github.com/agnivade/levenshtein v1.2.2 // indirect
	github.com/go-jose/go-jose/v3 v3.0.4 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/vektah/gqlparser/v2 v2.5.64 // indirect
	golang.org/x/crypto v0.43.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
)

# Everything a checkout needs; `make` alone lists it. No target needs root,
# except that PostgreSQL is installed by apt when it is missing and may be.
SHELL := /bin/bash
GO    ?= go
RACE  ?= -race

.DEFAULT_GOAL := help
.PHONY: help demo test test-medusa soak bench lint build postgres nginx pgbouncer

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

demo: postgres ## run the whole thing on this machine and watch it (ONCE=1: do not stay up)
	$(GO) run ./cmd/lockstep demo

test: postgres nginx pgbouncer ## run every test
	$(GO) vet ./...
	$(GO) test $(RACE) -timeout 20m ./...
	cd internal/compat && $(GO) vet ./... && $(GO) test $(RACE) ./...

# The first run installs Medusa from npm, some 700 MB, into the user's cache.
test-medusa: postgres ## test against a real Medusa (needs Node 20.19 or later, and npm)
	set -o pipefail; $(GO) run ./internal/realmedusa \
		$(GO) test -v -count=1 -timeout 20m -p 1 -run OnRealMedusa ./medusa ./internal/emulator | grep -vE '^ *=== (RUN|PAUSE|CONT)'

# LOCKSTEP_SOAK_USERS, LOCKSTEP_SOAK_STORIES and LOCKSTEP_SOAK_SHOP_USERS make
# them smaller or larger.
soak: postgres ## 5,000 users harmed in every way; 3,000 interleavings; 2,000 users in twenty shops that fail
	$(GO) test $(RACE) -timeout 120m -count 1 -run '^TestWhoIsWho$$' ./internal/inbox -rapid.checks $${LOCKSTEP_SOAK_STORIES:-3000} -rapid.steps 60
	LOCKSTEP_SOAK_USERS=$${LOCKSTEP_SOAK_USERS:-5000} $(GO) test $(RACE) -timeout 60m -count 1 -v -run '^TestReconcile$$' ./app
	LOCKSTEP_SOAK_SHOP_USERS=$${LOCKSTEP_SOAK_SHOP_USERS:-2000} $(GO) test -timeout 60m -count 1 -v -run '^TestTwentyShops$$' ./app

bench: postgres ## measure, in ratios: accepting webhooks, time to the customer
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 30m ./internal/bench
	$(GO) test -run '^$$' -bench . ./clerk ./auth
	cd internal/compat && $(GO) test -run '^$$' -bench . -benchtime 1x ./...

lint: ## formatting, vet and staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run: gofmt -w .'; exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

build: ## build ./lockstep
	CGO_ENABLED=0 $(GO) build -o lockstep ./cmd/lockstep

# PostgreSQL's server binaries, for demo and tests: a private server is started
# from them, and ends with the command. A given LOCKSTEP_TEST_DATABASE_URL or a
# server that is installed is used as it is.
postgres:
	@$(GO) run ./internal/localpg/find || $(call install,postgresql)

# One test runs the documented nginx configuration; without nginx it is skipped,
# and under CI=true it fails.
nginx:
	@PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || $(call install,nginx) || true

# The tests of poolers run pgbouncer, in place of Supabase's Supavisor; without
# it they are skipped, and under CI=true they fail.
pgbouncer:
	@PATH="$$PATH:/usr/sbin" command -v pgbouncer >/dev/null || $(call install,pgbouncer) || true

install = { sudo=; [ "$$(id -u)" = 0 ] || sudo="sudo -n"; \
	command -v apt-get >/dev/null && echo "Installing $(1) with apt-get …" && \
	$$sudo apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $(1) >/dev/null; }

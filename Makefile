SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
GO ?= go
LINT_VERSION := v2.15.0
TOOLS := $(CURDIR)/.tools
LINT := $(TOOLS)/golangci-lint-$(LINT_VERSION)
# Folders with fuzz targets, found by looking.
FUZZTIME ?= 30s
# The folder with PostgreSQL's programs; fetched when there is none.
PGBIN_CMD := $(CURDIR)/scripts/postgres.sh
# The folder with Apache Kafka; fetched when there is none. Where it cannot be had its tests are skipped, and said to be at the end.
KAFKA_CMD := $(CURDIR)/scripts/kafka.sh

.PHONY: help demo test crash fuzz bench bench-sms bench-lists bench-feed lint build clean need-go

help: ## show this
	@echo "Needs Go 1.26 or newer, make and bash; everything else is fetched. Targets:"
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

need-go:
	@if ! command -v $(GO) >/dev/null; then echo "There is no Go on this machine. Install Go 1.26 or newer: https://go.dev/dl/" >&2; exit 1; fi
	@version=$$($(GO) env GOVERSION 2>/dev/null || $(GO) version | cut -d' ' -f3); \
	minor=$$(sed -nE 's/^go1\.([0-9]+).*/\1/p' <<<"$$version"); \
	if [[ -z $$minor || $$minor -lt 26 ]]; then echo "Go is $$version, and 1.26 or newer is needed: https://go.dev/dl/" >&2; exit 1; fi

build: need-go ## build bin/ekc
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w $(if $(RELEASE),-X main.release=$(RELEASE))' -o bin/ekc ./cmd/ekc

demo: build ## everything in one process, with invented people (ONCE=1: end after the samples)
	PGBIN=$$($(PGBIN_CMD)) bin/ekc demo $(if $(ONCE),--once)

test: need-go ## all tests (RACE=1: with the race detector)
	@$(PGBIN_CMD) >/dev/null # the tests find it by themselves
	@$(KAFKA_CMD) >/dev/null || true
	@$(GO) test -json $(if $(RACE),-race) ./... ./.ci/report | $(GO) run ./.ci/report $(if $(STRICT),-strict)
	@echo "left out, run by themselves: make crash (kill -9, 100 000 rows), make fuzz, make bench"

crash: need-go ## 100 000 rows with kill -9 of the hub and of PostgreSQL (ROWS=, KILLS=)
	@$(PGBIN_CMD) >/dev/null
	@$(KAFKA_CMD) >/dev/null || true
	@export EKC_CRASH_ROWS=$(or $(ROWS),100000) EKC_CRASH_KILLS=$(or $(KILLS),20) EKC_CRASH_MINUTES=20; \
	$(GO) test -count=1 -timeout 60m -v -run 'TestKilled' ./cmd/ekc

fuzz: need-go ## every fuzz target for FUZZTIME (30s)
	@$(PGBIN_CMD) >/dev/null
	@grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/:func / /' | sort | while read -r file target; do \
		echo "== $$target in $$(dirname $$file)"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$(dirname $$file)"; \
	done

bench: bench-sms bench-lists bench-feed ## the next three

bench-sms: need-go ## the way of an SMS, as ratios against the wire, the database's limit and Kannel (BENCH=flags)
	@export PGBIN=$$($(PGBIN_CMD)); $(GO) build -o bin/bench ./dispatch/sms/bench && bin/bench $(BENCH)

bench-lists: build ## a million rows from upload to ready, beside inflating, excelize, xlsx2csv, LibreOffice (LISTS=flags)
	@export PGBIN=$$($(PGBIN_CMD)); $(GO) build -o bin/bench-lists ./ingest/bench && bin/bench-lists $(LISTS)

bench-feed: need-go ## a list by Kafka beside the same without Kafka; a single event from its producer to the SMS centre
	@$(PGBIN_CMD) >/dev/null
	@$(KAFKA_CMD) >/dev/null
	@$(GO) test -run '^$$' -bench BenchmarkFeed -benchtime 1x -timeout 20m -v ./cmd/ekc

$(LINT):
	GOBIN=$(TOOLS)/new $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv $(TOOLS)/new/golangci-lint $@ && rmdir $(TOOLS)/new

lint: need-go $(LINT) ## gofmt, go vet, golangci-lint
	@unformatted=$$(gofmt -l $$(find . -name '*.go' -not -path './.tools/*' -not -path './.demo/*')); \
	if [[ -n $$unformatted ]]; then echo "gofmt would change: $$unformatted" >&2; exit 1; fi
	$(GO) vet ./... ./.ci/report
	$(LINT) run ./... ./.ci/report

clean: ## remove what was built, fetched and left by the demo
	rm -rf bin .tools .demo

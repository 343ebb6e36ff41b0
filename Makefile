# make run    builds Millrace, starts it with everything embedded, and says what to try next
# make test   installs what the tests need, checks the code, and runs every test
# make build  builds bin/millrace
# make lint   gofmt, go vet, staticcheck
# make fuzz   lets every fuzz target run for FUZZTIME

SHELL      := /usr/bin/env bash
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null)
GOFLAGS    ?=
LISTEN     ?= 127.0.0.1:8041
DATA_DIR   ?= millrace-data
FUZZTIME   ?= 20s
TESTFLAGS  ?=

.PHONY: build run test lint fuzz clean

build:
	go build $(GOFLAGS) -ldflags '-X main.version=$(VERSION)' -o bin/millrace ./cmd/millrace

run: build
	@scripts/next-steps '$(LISTEN)'
	MILLRACE_API_LISTEN='$(LISTEN)' MILLRACE_DATA_DIR='$(DATA_DIR)' MILLRACE_INDEX_CREATE_DEFAULTS=true bin/millrace serve

test:
	scripts/test-setup
	@$(MAKE) --no-print-directory lint
	@# What is too slow under the race detector, and of one goroutine, runs without it. One failing doesn't spare the other.
	status=0; \
	MILLRACE_TEST_INSTALL=1 MILLRACE_PYTHON="$${MILLRACE_PYTHON:-$(CURDIR)/.cache/venv/bin/python}" \
	MILLRACE_SPARK_3_5="$${MILLRACE_SPARK_3_5:-$(CURDIR)/.cache/spark-3.5/bin/python}" \
	MILLRACE_SPARK_4_0="$${MILLRACE_SPARK_4_0:-$(CURDIR)/.cache/spark-4.0/bin/python}" go test -race -timeout 60m $(TESTFLAGS) ./... || status=1; \
	files=$$(git grep -l '^//go:build !race' -- '*_test.go'); \
	names=$$(sed -n 's/^func \(Test[A-Za-z0-9_]*\).*/\1/p' $$files | sort -u | paste -sd '|'); \
	go test -timeout 60m $(TESTFLAGS) -run "^($$names)$$" $$(dirname $$files | sort -u | sed 's,^,./,') || status=1; \
	exit $$status

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...

fuzz:
	@go list ./... | while read -r package; do \
	  go test -list '^Fuzz' "$$package" | grep '^Fuzz' | while read -r target; do \
	    echo "== $$package $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" || exit 1; \
	  done || exit 1; \
	done

clean:
	rm -rf bin .cache

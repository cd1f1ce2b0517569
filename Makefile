# The everyday commands of fedvitals; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test soak check lint types docs lock influxd servers clean

# Nothing that we start may call home.
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export GX_ANALYTICS_ENABLED := false

BIN := .venv/bin
STAMP := .venv/.setup-done
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/fedvitals/bin
INFLUXD := $(CACHE)/influxd

# The first interpreter that runs and is new enough but not too new; `make PYTHON=…` overrules it.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& command -v "$$python" && break; done)

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/\1|\2/p' Makefile | column -t -s '|'

setup: $(STAMP)  ## make .venv with everything in requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "fedvitals needs Python 3.11, 3.12 or 3.13; none of python3.11, \
	python3.12, python3.13, python3 is one (make setup PYTHON=/path/to/python)" >&2; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup  ## see it work: a demo service, its metrics, the reports
	$(BIN)/fedvitals demo

# Each worker has servers of its own; a file's tests stay together, since they share what they start.
test: setup  ## the whole suite, real servers included
	$(BIN)/pytest -n 3 --dist loadfile

soak: setup  ## runs with faults by chance for SOAK_MINUTES (20), then nothing may be missing or doubled
	$(BIN)/python -m tests.soak.soak

check: lint types  ## what to run before each commit
	$(BIN)/pytest -m "not real and not slow" -x -q -n logical --dist loadfile

lint: setup  ## ruff and the layers of the design
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup  ## mypy
	$(BIN)/mypy --strict

docs: setup  ## write the generated pages of docs anew
	$(BIN)/python -m docs.generate

lock:  ## write requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile --universal --generate-hashes --all-extras --no-header --no-annotate \
		--no-emit-index-url pyproject.toml -o requirements.lock

influxd: $(INFLUXD)  ## build the InfluxDB that the tests drive (Go and Rust; minutes, once)

# flux's Rust part asks for an old toolchain by name, so the installed one is named instead.
$(INFLUXD):
	@for tool in go cargo cc pkg-config; do command -v "$$tool" >/dev/null \
		|| { echo "$$tool is missing: make influxd needs Go, Rust, a C compiler and pkg-config" >&2; exit 1; }; done
	mkdir -p "$(CACHE)"
	cd deployments/influxdb && go build -buildvcs=false -o "$(CACHE)/pkg-config" github.com/influxdata/pkg-config
	@if command -v rustup >/dev/null; then \
		RUSTUP_TOOLCHAIN="$${RUSTUP_TOOLCHAIN:-$$(rustup default | cut -d ' ' -f 1)}"; export RUSTUP_TOOLCHAIN; fi; \
	cd deployments/influxdb && PKG_CONFIG="$(CACHE)/pkg-config" RUSTFLAGS=--cap-lints=warn \
		go build -buildvcs=false -tags sqlite_foreign_keys,sqlite_json -o "$@.part" github.com/influxdata/influxdb/v2/cmd/influxd
	mv "$@.part" "$@"

servers: $(INFLUXD) $(CACHE)/prometheus3 $(CACHE)/promtool3 $(CACHE)/victoria-metrics  ## build all servers that tests drive and Debian lacks

# a release says its version, a module does not: v0.313.5 is 3.13.5
$(CACHE)/prometheus3 $(CACHE)/promtool3: deployments/prometheus/go.mod
	$(call go-build,prometheus,github.com/prometheus/prometheus/cmd/$(patsubst %3,%,$(@F)),-ldflags '-X github.com/prometheus/common/version.Version=3.13.5')

$(CACHE)/victoria-metrics: deployments/victoriametrics/go.mod
	$(call go-build,victoriametrics,github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics)

define go-build
	@command -v go >/dev/null || { echo "go is missing: make servers needs Go" >&2; exit 1; }
	mkdir -p "$(CACHE)"
	cd deployments/$(1) && go build -buildvcs=false $(3) -o "$@.part" $(2)
	mv "$@.part" "$@"
endef

clean:  ## remove caches and builds; keeps .venv and servers
	rm -rf build dist .benchmarks .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

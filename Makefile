# Tapehouse, by one word each. `make` lists the words; everything is installed into .venv, with hashes, and nowhere else.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
WORKERS ?= 2
PYTEST_ARGS ?=

# The first of these that starts and is new enough makes the environment; PYTHON=... names another.
USABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	"$$python" -c '$(USABLE)' 2>/dev/null && echo "$$python" && break; done)

# Whoever has told pip of a package index of their own has told uv as well.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

CORE := .venv/.core-installed
S3 := .venv/.s3-installed
CLUSTER := .venv/.cluster-installed
WAREHOUSE := .venv/.warehouse-installed
DEV := .venv/.dev-installed
# The development environment holds all others, those of the cluster and the warehouse what a bucket needs, each the core:
# what is there is used as it is.
WITH_S3 := $(or $(wildcard $(DEV)),$(wildcard $(CLUSTER)),$(wildcard $(WAREHOUSE)),$(S3))
# Whether the lake is in a bucket, as the platform will read it: from the environment, else from .env.
IN_BUCKET := $(findstring ://,$(or $(TAPEHOUSE_LAKE),$(shell sed -n 's/^ *TAPEHOUSE_LAKE *=//p' .env 2>/dev/null)))
RUNTIME := $(or $(wildcard $(WITH_S3)),$(if $(IN_BUCKET),$(S3),$(CORE)))
WITH_CLUSTER := $(or $(wildcard $(DEV)),$(CLUSTER))
WITH_WAREHOUSE := $(or $(wildcard $(DEV)),$(WAREHOUSE))

.PHONY: help setup setup-s3 setup-cluster setup-warehouse setup-dev up demo cluster-up cluster-down cluster-pause cluster-resume test test-quick check format bench docs lock \
	pin-jars chromium clean

help: ## list what can be done
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(RUNTIME) ## install what the platform needs to run, from Python alone
	@echo "Ready: make up, make demo, or $(BIN)/tapehouse --help"

setup-s3: $(WITH_S3) ## install what a lake in a bucket (s3://) needs as well
	@echo "Ready: make up with TAPEHOUSE_LAKE=s3://bucket/prefix"

setup-cluster: $(WITH_CLUSTER) ## install what the cluster profile needs as well: Kafka, Spark, an object store
	@$(BIN)/python deploy/local/parts.py fetch data/cluster
	@echo "Ready: make cluster-up"

setup-warehouse: $(WITH_WAREHOUSE) ## install what the warehouse needs as well: dbt and DuckDB
	@echo "Ready: $(BIN)/tapehouse warehouse build"

setup-dev: $(DEV) ## install what working on it needs as well
	@echo "Ready: make test, make check"

up: $(RUNTIME) ## run the platform on live Binance data; Ctrl-C ends it
	@exec $(BIN)/python .ci/foreground.py $(BIN)/tapehouse up

demo: $(RUNTIME) ## run the platform on the exchange in the box: no network needed
	@exec $(BIN)/python .ci/foreground.py $(BIN)/tapehouse up --demo

cluster-up: $(WITH_CLUSTER) ## run the cluster profile on this machine, on the exchange in the box (CLUSTER_SOURCE=live: Binance)
	@$(BIN)/python deploy/local/cluster.py up

cluster-down: ## end the cluster of cluster-up; its data stay in data/cluster
	@$(BIN)/python deploy/local/cluster.py down

SERVICE ?= stream

cluster-pause: ## end one service of cluster-up, SERVICE=stream if none is named, while the others go on
	@$(BIN)/python deploy/local/cluster.py pause $(SERVICE)

cluster-resume: ## start it again
	@$(BIN)/python deploy/local/cluster.py resume $(SERVICE)

test: $(DEV) chromium ## run every test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-quick: $(DEV) ## run the tests that take a moment
	$(BIN)/python -m pytest -m "not slow and not browser and not peers" $(PYTEST_ARGS)

check: $(DEV) ## format, lint, types, import contracts, generated pages: all must be clean
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

format: $(DEV) ## put the code into its form and mend what can be mended
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

bench: $(DEV) ## measure, and write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

docs: $(DEV) ## write the generated pages: docs/reference and .env.example
	$(BIN)/python docs/generate.py

COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links -c requirements/limits.in --override requirements/overrides.in --quiet --custom-compile-command "make lock" $(LOCK_ARGS)

lock: $(DEV) ## resolve the requirements anew (LOCK_ARGS=--upgrade takes newer versions)
	$(COMPILE) requirements/bootstrap.in -o requirements/bootstrap.lock
	$(COMPILE) pyproject.toml requirements/bootstrap.in -c requirements/bootstrap.lock -o requirements/core.lock
	$(COMPILE) pyproject.toml requirements/bootstrap.in --extra cluster -c requirements/core.lock -o requirements/cluster.lock
	$(COMPILE) pyproject.toml requirements/bootstrap.in --extra s3 -c requirements/cluster.lock -o requirements/s3.lock
	$(COMPILE) pyproject.toml requirements/bootstrap.in --extra warehouse -c requirements/cluster.lock -o requirements/warehouse.lock
	$(COMPILE) pyproject.toml requirements/bootstrap.in --extra cluster --group local -c requirements/cluster.lock -o requirements/local.lock
	$(COMPILE) pyproject.toml requirements/bootstrap.in --extra cluster --extra warehouse --group dev -c requirements/cluster.lock -c requirements/warehouse.lock -o requirements/dev.lock

pin-jars: $(DEV) ## write the hashes of the jars anew, after a change in deploy/local/jars
	$(BIN)/python deploy/local/parts.py pin

clean: ## remove the environment and every cache; the lake in data/ stays
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

chromium:
	@if command -v chromium chromium-browser google-chrome >/dev/null; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo "==> Installing Chromium for the browser tests"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >/dev/null; \
	else \
		echo "==> No Chromium: the browser tests cannot run. On Debian or Ubuntu: sudo apt-get install chromium"; \
	fi

.venv/bin/uv: requirements/bootstrap.lock
	@if ! "$(PYTHON)" -c '$(USABLE)' 2>/dev/null; then \
		echo "Tapehouse needs Python 3.11, 3.12 or 3.13 with venv; $(or $(PYTHON),nothing on the PATH) is not it." >&2; \
		echo "On Debian or Ubuntu: sudo apt-get install python3 python3-venv" >&2; \
		echo "Or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi
	@echo "==> Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# $(call install,locks): make .venv hold exactly what the locks name, then the project itself from this folder.
define install
	@echo "==> Installing $$(cat $(1) | grep '^[a-z].*==' | sort -u | wc -l) packages ($(1)), each checked against its hash"
	@$(BIN)/uv pip sync --python $(BIN)/python --require-hashes $(1)
	@$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
endef

$(CORE): requirements/core.lock pyproject.toml .venv/bin/uv
	$(call install,$<)
	@rm -f $(S3) $(CLUSTER) $(WAREHOUSE) $(DEV) && touch $@

$(S3): requirements/s3.lock pyproject.toml .venv/bin/uv
	$(call install,$<)
	@rm -f $(CLUSTER) $(WAREHOUSE) $(DEV) && touch $@

$(CLUSTER): requirements/local.lock pyproject.toml .venv/bin/uv
	$(call install,$< $(if $(wildcard $(WAREHOUSE)),requirements/warehouse.lock))
	@rm -f $(DEV) && touch $@

$(WAREHOUSE): requirements/warehouse.lock pyproject.toml .venv/bin/uv
	$(call install,$< $(if $(wildcard $(CLUSTER)),requirements/local.lock))
	@rm -f $(DEV) && touch $@

$(DEV): requirements/dev.lock pyproject.toml .venv/bin/uv
	$(call install,$<)
	@touch $@

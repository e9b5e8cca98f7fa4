.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUNTIME_LOCK := requirements.lock
DEV_LOCK := requirements-dev.lock

# The first interpreter that runs, is new enough and can make an environment. A name on PATH is not yet an interpreter
# (pyenv's shims), so each is tried. Above 3.14 the locked packages have no wheels.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1 \
	&& { echo $$p; break; }; done)

# Every room that a change must pass; of chaos the quick scenarios. What takes long has targets of its own.
TEST_ROOMS := $(wildcard tests/unit tests/contract tests/architecture tests/integration tests/e2e tests/chaos)

##@ Use

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  \033[36m%-11s\033[0m %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: $(STAMP) ## Make .venv with the locked dependencies, and nothing else
	@:

# uv comes out of the lock like everything else (pip checks its hash) and installs the rest in seconds. pip stays the
# way out: it knows index, proxy and certificate settings of the user that uv does not read.
$(STAMP): $(RUNTIME_LOCK) $(DEV_LOCK) pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "make setup: found no Python 3.11 to 3.14 with the venv module on PATH. Install one" \
			"(on Debian and Ubuntu also python3-venv), or name it: make setup PYTHON=/path/to/python3" >&2; exit 2; fi
	@echo "Installing the locked dependencies into $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV)
	@awk '/^uv==/ {found = 1} found {print} found && !/\\$$/ {exit}' $(DEV_LOCK) \
		| $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --requirement /dev/stdin
	@$(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python --require-hashes --requirement $(DEV_LOCK) \
		|| { echo "uv could not install; trying pip, which takes a minute longer ..." >&2; \
			$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(DEV_LOCK); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# `KAFKA=host:port make run` uses that cluster instead of starting one.
ifdef KAFKA
run: export LANEWAY_KAFKA__BOOTSTRAP_SERVERS := $(KAFKA)
endif
.PHONY: run
run: setup ## Start everything, run the sample tasks, stay up until Ctrl-C (KAFKA=host:port for your own cluster)
	@exec $(BIN)/laneway up --demo

##@ Measure

# What `laneway bench` takes: `make bench ONLY=noop,cpu RUNS=5 OUTPUT=figures.json`.
BENCH_OPTIONS = $(if $(ONLY),--only $(ONLY)) $(if $(RUNS),--runs $(RUNS)) $(if $(OUTPUT),--output $(OUTPUT))
.PHONY: bench
bench: setup ## Measure throughput, latency, priority and memory (ONLY=noop,cpu RUNS=5 OUTPUT=FILE)
	@$(BIN)/laneway bench $(BENCH_OPTIONS)

.PHONY: bench-peers
bench-peers: setup ## Measure Celery, Dramatiq, taskiq and Huey beside it (PEERS=celery,taskiq ONLY=noop RUNS=3)
	@$(BIN)/python -m tests.bench.peers $(if $(PEERS),--peers $(PEERS)) $(BENCH_OPTIONS)

.PHONY: bench-replay
bench-replay: setup ## Measure how fast a replay appends (TASKS=200000 SHADOW=1 BESIDE=1)
	@$(BIN)/python -m tests.bench.replay $(if $(TASKS),--tasks $(TASKS)) $(if $(SHADOW),--shadow) $(if $(BESIDE),--beside)

.PHONY: bench-view
bench-view: setup ## Measure the status view with five million tasks in it (TASKS=100000)
	@$(BIN)/python -m tests.bench.view $(if $(TASKS),--tasks $(TASKS))

##@ Check

.PHONY: test
test: setup ## Run every test that a change must pass, against a real Kafka
	@$(BIN)/python -m tests.support.chromium --install
	@$(BIN)/pytest $(TEST_ROOMS) -m "not long"

.PHONY: test-long
test-long: setup ## Run the tests that take too long for `make test`, those of the fault matrix among them
	@$(BIN)/pytest $(TEST_ROOMS) -m long

.PHONY: test-fast
test-fast: setup ## Run the tests that need no broker: unit, contract, architecture
	@$(BIN)/pytest

.PHONY: lint
lint: setup ## Check style and formatting with ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: types
types: setup ## Check types with mypy --strict, tests included
	@$(BIN)/mypy

.PHONY: imports
imports: setup ## Check which package may import which
	@$(BIN)/lint-imports

.PHONY: ci
ci: lint types imports test ## Run the one gate that every change passes

##@ Break

.PHONY: chaos
chaos: setup ## Kill, freeze and restart everything under load, then judge (SEED=n MINUTES=n BROKERS=1|3)
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(BROKERS),--brokers $(BROKERS)) $(CHAOS_OPTIONS)

.PHONY: chaos-matrix
chaos-matrix: setup ## Run every scenario of the fault matrix, the long ones too
	@$(BIN)/pytest tests/chaos

##@ Change

.PHONY: format
format: setup ## Format the code and apply ruff's safe fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: lock
lock: setup ## Resolve the dependencies anew into the two lock files (UPGRADE=1 takes the newest of each)
	@$(BIN)/uv pip compile pyproject.toml $(LOCK_OPTIONS) --output-file $(RUNTIME_LOCK)
	@$(BIN)/uv pip compile pyproject.toml $(LOCK_OPTIONS) --group dev --constraint $(RUNTIME_LOCK) --output-file $(DEV_LOCK)
LOCK_OPTIONS := --quiet --system-certs --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	--no-emit-find-links --only-binary :all: $(if $(UPGRADE),--upgrade)

.PHONY: schemas
schemas: setup ## Write the generated JSON Schemas and documents again
	@$(BIN)/python -m schemas.generate

.PHONY: assets
assets: setup ## Fetch the dashboard's vendored scripts again (needs npm) and check them against their lock
	@$(BIN)/python -m ingest.dashboard.vendoring

.PHONY: pictures
pictures: setup ## Take the pictures in docs/images again (needs Chromium)
	@$(BIN)/python -m tests.support.pictures

.PHONY: docs
docs: schemas ## The same, for whoever looks for it under this name

.PHONY: clean
clean: ## Remove the environment and every cache; .laneway, which holds your data, stays
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Every target that needs the virtual environment sets it up first; see tools/bootstrap.
# `make PYTHON=python3.13 test` chooses the interpreter for a new environment.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.bootstrapped
PROJECTS := $(wildcard libs/*/pyproject.toml services/*/pyproject.toml)
OURS = $(shell sed -n 's/^name = "\(.*\)"/--no-emit-package \1/p' $(PROJECTS))

DURATION ?= 60s
DATA_DIR ?= data-demo
BENCH ?= full
SEEDS ?= 20
MINUTES ?= 30
PYTEST_ARGS ?=
WORKERS ?= 4
PIPELINES ?= 2
# The demo is a stack of its own: simulated prices never come among real ones. Of .env it takes neither files nor markets.
COMPOSE = cd deploy/compose && $(if $(DEMO),COMPOSE_PROJECT_NAME=daedalus-demo COMPOSE_FILE=compose.yaml \
	DAEDALUS_CONFIG=./daedalus.demo.yaml )docker compose $(if $(DEMO),--profile demo)

export PYTHON

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test check static lint types layers docs test-fast bench arm64 faults soak up down logs format lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## set up .venv (runs only when the lock or a pyproject.toml changed)

$(STAMP): requirements.lock $(PROJECTS) tools/bootstrap
	@tools/bootstrap $(VENV)
	@touch $@

demo: $(STAMP) ## simulated exchange to Parquet for DURATION (60s) into DATA_DIR (data-demo), with a summary
	$(BIN)/daedalus up --demo --duration $(DURATION) --data-dir $(DATA_DIR)

# Tests wait more than they compute, so there are more workers than cores; whole pipelines compute, so fewer of them run
# at once. What measures time, or builds containers, runs by itself. (pytest's 5: none of the chosen tests is of this kind.)
test: $(STAMP) ## run every test (PYTEST_ARGS is passed on)
	$(BIN)/python -m pytest -n $(WORKERS) -m "not e2e and not alone and not docker" $(PYTEST_ARGS) || [ $$? = 5 ]
	$(BIN)/python -m pytest -n $(PIPELINES) -m "e2e and not alone and not docker" $(PYTEST_ARGS) || [ $$? = 5 ]
	$(BIN)/python -m pytest -m "alone or docker" $(PYTEST_ARGS) || [ $$? = 5 ]

check: static test-fast ## everything that must pass before a change lands, but the end-to-end tests

static: lint types layers docs ## the checks that run no test

lint: $(STAMP) ## formatting and lint rules
	$(BIN)/ruff format --check --diff .
	$(BIN)/ruff check .

types: $(STAMP) ## strict typing of the packages, light typing of the tests
	$(BIN)/mypy
	$(BIN)/mypy --cache-dir .mypy_cache/tests --allow-untyped-defs --allow-incomplete-defs \
		--allow-untyped-calls --allow-untyped-decorators --allow-any-generics --no-warn-return-any \
		--disable-error-code var-annotated tests

layers: $(STAMP) ## who may import whom
	$(BIN)/lint-imports

docs: $(STAMP) ## generated documentation and dashboards are current
	$(BIN)/python tools/generated_docs.py --check docs
	$(BIN)/python -m tools.dashboards --check deploy/grafana/dashboards

test-fast: $(STAMP) ## the tests that start no whole pipeline
	$(BIN)/python -m pytest -n $(WORKERS) -m "not e2e and not alone and not docker" $(PYTEST_ARGS)

bench: $(STAMP) ## measure (BENCH=short for a quick run)
	$(BIN)/python -m benchmarks --size $(BENCH)

arm64: $(STAMP) ## try what the images install on an emulated Raspberry Pi (ARM64_ARGS="--image writer --page 16384")
	$(BIN)/python -m tools.check_arm64 $(ARM64_ARGS)

faults: $(STAMP) ## break a running pipeline on purpose (SEEDS=20, or SEED=1-5,9; ONLY=component:fault; FAULTS_ARGS)
	PYTHONPATH=tests $(BIN)/python -m faults --seeds $(SEEDS) $(if $(SEED),--seed $(SEED)) \
		$(if $(ONLY),--only "$(ONLY)") $(FAULTS_ARGS)

soak: $(STAMP) ## random faults for MINUTES (30), then account for every event and look for growth
	PYTHONPATH=tests $(BIN)/python -m faults --soak $(MINUTES) $(if $(SEED),--seed $(SEED)) $(FAULTS_ARGS)

up: ## start the containers, wait until all are ready (DEMO=1: simulated markets; UP_ARGS="--scale featurizer=3")
	@[ -n "$(DEMO)" ] || [ -e deploy/compose/.env ] || { \
		echo "What to record? cp deploy/compose/.env.example deploy/compose/.env, edit deploy/compose/daedalus.yaml," \
		"and run make up again; or make up DEMO=1 for simulated markets." >&2; exit 2; }
	@deploy/compose/secrets.sh
	$(COMPOSE) up --detach --wait $(UP_ARGS)

down: ## stop the containers; the data stay (DOWN_ARGS=--volumes deletes them; DEMO=1: of the demo)
	$(COMPOSE) --profile "*" down $(DOWN_ARGS)

logs: ## follow the containers' logs (DEMO=1: of the demo)
	$(COMPOSE) --profile "*" logs --follow --tail 100

format: $(STAMP) ## rewrite the code in the project's format, the generated documentation and the dashboards
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .
	$(BIN)/python tools/generated_docs.py docs
	$(BIN)/python -m tools.dashboards deploy/grafana/dashboards

# Not behind the stamp: a pyproject.toml that the old lock no longer fits is the reason to come here.
lock: | $(BIN)/uv ## resolve requirements.in into requirements.lock, and the images' parts of it (UPGRADE=--upgrade for newer versions)
	$(BIN)/uv pip compile requirements.in --output-file requirements.lock --quiet \
		--universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--no-emit-index-url --no-header --no-annotate $(UPGRADE) \
		$(OURS)
	$(BIN)/python tools/service_locks.py

$(BIN)/uv:
	@tools/bootstrap $(VENV)

clean: ## remove the environment, caches and the demo's data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache data-demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

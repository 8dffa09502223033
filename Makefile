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
PYTEST_ARGS ?=

export PYTHON

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test check static lint types layers docs test-fast bench format lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## set up .venv (runs only when the lock or a pyproject.toml changed)

$(STAMP): requirements.lock $(PROJECTS) tools/bootstrap
	@tools/bootstrap $(VENV)
	@touch $@

demo: $(STAMP) ## simulated exchange to Parquet for DURATION (60s) into DATA_DIR (data-demo), with a summary
	$(BIN)/daedalus up --demo --duration $(DURATION) --data-dir $(DATA_DIR)

test: $(STAMP) ## run every test (PYTEST_ARGS is passed on)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

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

docs: $(STAMP) ## generated documentation is current
	$(BIN)/python tools/generated_docs.py --check docs

test-fast: $(STAMP) ## the tests that start no whole pipeline
	$(BIN)/python -m pytest -m "not e2e" $(PYTEST_ARGS)

bench: $(STAMP) ## measure (BENCH=short for a quick run)
	$(BIN)/python -m benchmarks --size $(BENCH)

format: $(STAMP) ## rewrite the code in the project's format, and the generated documentation
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .
	$(BIN)/python tools/generated_docs.py docs

# Not behind the stamp: a pyproject.toml that the old lock no longer fits is the reason to come here.
lock: | $(BIN)/uv ## resolve requirements.in into requirements.lock (UPGRADE=--upgrade for newer versions)
	$(BIN)/uv pip compile requirements.in --output-file requirements.lock --quiet \
		--universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
		--no-emit-index-url --no-header --no-annotate $(UPGRADE) \
		$(OURS)

$(BIN)/uv:
	@tools/bootstrap $(VENV)

clean: ## remove the environment, caches and the demo's data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache data-demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

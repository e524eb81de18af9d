# `make help` lists the targets. Everything runs from .venv, which `make install` creates.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH ?= $(sort $(wildcard benchmarks/[!_]*.py))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install lint format test test-lowest coverage demo bench dist lock clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## Create .venv and install the package with its developer tools, at the pinned versions.

$(STAMP): pyproject.toml ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo '$(PYTHON) is older than Python 3.11; name a newer one: make install PYTHON=python3.12'; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c ci/constraints.txt -e '.[dev]'
	@touch $@

lint: install ## Check style, spelling and types; changes nothing.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/mypy

format: install ## Apply the fixes of ruff and its formatting.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

test: install ## Run all tests and doctests: the fast ones, then those with worker processes, then the slow ones (TEST_ARGS="-m 'not slow'").
	$(BIN)/python -m pytest $(TEST_ARGS)

test-lowest: ## Run the same tests on the oldest supported versions (ci/lowest.txt), in an environment of their own.
	$(PYTHON) -m venv --clear out/lowest
	out/lowest/bin/python -m pip install -c ci/lowest.txt -e '.[dev]'
	out/lowest/bin/python -m pytest -p no:cacheprovider $(TEST_ARGS)

coverage: install ## Run the tests and say which lines they never reached.
	$(BIN)/python -m pytest --cov $(TEST_ARGS)

demo: install ## Fit a PCA to a turbulence simulation while it runs; the report is out/demo/report.html (DEMO_ARGS="--steps 16").
	$(BIN)/dask-exa demo --out out/demo $(DEMO_ARGS)

bench: install ## Run the benchmarks, or some of them (BENCH=benchmarks/pca.py).
	@test -n '$(BENCH)' || echo 'benchmarks/ holds no script yet'
	@set -e; for script in $(BENCH); do echo "== $$script"; $(BIN)/python $$script; done

dist: install ## Build the sdist and the wheel into dist/.
	$(BIN)/python -m build

lock: ## Pin the newest versions that install together in ci/constraints.txt.
	$(PYTHON) -m venv --clear out/lock
	out/lock/bin/python -m pip install -e '.[dev]'
	out/lock/bin/python -m pip freeze --exclude-editable > out/lock/pins.txt
	@! grep -n '@\|://' out/lock/pins.txt || { echo 'these are no published versions; nothing written'; exit 1; }
	@{ echo '# The complete developer install, pinned. Written by `make lock`.'; cat out/lock/pins.txt; } > ci/constraints.txt

clean: ## Remove what the other targets made, except .venv.
	rm -rf out build dist *.egg-info htmlcov .coverage .coverage.* .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

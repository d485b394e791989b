# `make demo` and `make test` do all their set-up; they need Python 3.11 to 3.13, make and a package registry.
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(if $(shell $(p) -c 'import sys, venv, ensurepip; print((3, 11) <= sys.version_info[:2] < (3, 14) or "")' 2>/dev/null),$(p))))
LOCK := requirements.txt

.PHONY: demo test lint format clean lock
.DEFAULT_GOAL := test

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 with venv was found on PATH: install one (Debian: apt-get install python3 python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(LOCK) pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(LOCK) --editable '.[demo]'
	@touch $@

$(VENV)/test.stamp: $(LOCK) pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@ $(VENV)/demo.stamp

demo: $(VENV)/demo.stamp  ## watch a model live through a year
	$(BIN)/afterfit demo

test: lint  ## everything that must hold
	$(BIN)/pytest -n 2

lint: $(VENV)/test.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/test.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(VENV)/test.stamp  ## renew the locked versions
	$(BIN)/uv pip compile --quiet --universal --upgrade --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--python-version 3.11 --extra demo --extra postgres --group dev --output-file $(LOCK) pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

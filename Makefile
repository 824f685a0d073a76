# Two commands do everything on a fresh Debian 12 machine: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PARALLEL ?= -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Hundreds of processes read the same modules: where bytecode may not be kept, each compiles them, and pytest all tests.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup demo test test-all lint lock bench packages sbom clean

setup: $(STAMP)

$(STAMP): pyproject.toml requirements/all.txt requirements/face-oracle.txt tools/install-packages
	tools/install-packages
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/all.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/face-oracle.txt
	rm -rf build keyvigil.egg-info   # of an earlier installation: they would hide the entry points of this one
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: setup
	$(BIN)/keyvigil-lab demo $(DEMO_ARGS)

test: setup
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not hardware" $(TEST_ARGS)

test-all: setup
	$(BIN)/python -m pytest $(PARALLEL) -m "not hardware" $(TEST_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy -p packages
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python benchmarks/bench_presentation.py
	$(BIN)/python benchmarks/bench_tpm.py
	$(BIN)/python benchmarks/bench_features.py
	$(BIN)/python benchmarks/bench_camera.py
	$(BIN)/python benchmarks/bench_descramble.py
	$(BIN)/python benchmarks/bench_enclaves.py
	$(BIN)/python benchmarks/bench_ef01.py
	$(BIN)/python benchmarks/bench_xfrm.py
	$(BIN)/python benchmarks/bench_keys.py
	$(BIN)/python benchmarks/attacks_face.py --presentations 5

packages:
	PYTHON=$(PYTHON) tools/build-packages

sbom: setup
	mkdir -p dist
	for name in agent authority; do \
	  $(BIN)/python -m packages.sbom $$name > dist/keyvigil-$$name.cdx.json || exit 1; \
	done

lock: setup
	tools/lock

clean:
	rm -rf $(VENV) build dist *.egg-info

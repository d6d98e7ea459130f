# Two commands need nothing but git, make and Python >= 3.11 with venv (Node comes from PyPI where there is none):
#   make run    start the service and send it the bundled sample
#   make test   run the test suite
# make EXTRAS=camera,mqtt installs what some sources, formats and receivers need; `make EXTRAS=camera run` starts the service, too.
# The rest: make check | test-all | test-bounds | lock | bench | fuzz | mutants | repeat | reliability | soak | security | sample | train | clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
WEB := service/web/index.html
WEB_SOURCES := $(shell find clients/web/src clients/typescript/src -type f) $(wildcard clients/web/*.json clients/web/*.ts clients/web/*.html)
DEV := $(VENV)/.dev
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
	-q --no-emit-find-links
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile
PACKAGES := kernels pipeline service clients/python/polychrony_client tests

# The dashboard, from clients/web.
web: $(WEB)

.PHONY: extras run web test test-all test-bounds check bench fuzz mutants repeat reliability reliability-full soak security lock sbom sample train clean

# Of docs/inputs.md and docs/edge.md: testing, dv, camera, ros, hdf5, mat, mqtt, otel.
ifdef EXTRAS
COMMA := ,
EMPTY :=
BLANK := $(EMPTY) $(EMPTY)
EXTRA := $(VENV)/.extras-$(subst $(BLANK),-,$(strip $(subst $(COMMA),$(BLANK),$(EXTRAS))))
.DEFAULT_GOAL := extras
extras: $(EXTRA)

$(EXTRA): requirements-dev.lock pyproject.toml docker/extras.py | $(RUNTIME)
	@$(BIN)/python docker/extras.py "$(EXTRAS)"
	@touch $@
endif

run: $(RUNTIME) $(WEB) $(EXTRA)
	@$(BIN)/polychrony demo

# Files side by side, so that what the tests of one share is made once; as many as there are cores, but no more than 4.
test: $(DEV) $(WEB)
	@$(PYTEST) -m "not long"

# With the confirmations that take long: damage of every kind, clocks that are set, trainings, the reliability table in short.
test-all: $(DEV) $(WEB)
	@$(PYTEST)

# Every kernel with every index checked, on random and on extreme inputs.
test-bounds: $(DEV)
	@PYTHONPATH=.:clients/python $(BIN)/python -m tests.bounds

check: $(DEV) $(WEB)
	@$(BIN)/ruff format --check $(PACKAGES)
	@$(BIN)/ruff check $(PACKAGES)
	@$(BIN)/basedpyright
	@$(BIN)/python clients/web/build.py check
	@PYTHONPATH=.:clients/python $(BIN)/lint-imports

bench: $(DEV)
	@$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only --benchmark-columns=min,median,max
	@$(BIN)/python -m tests.benchmarks.inputs --write
	@PYTHONPATH=.:clients/python $(BIN)/python -m tests.benchmarks.packets
	@$(BIN)/python -m tests.benchmarks.motifs --write

# Hostile bytes: a million inputs for each decoder of our own, 20,000 for each library's. An hour.
fuzz: $(DEV)
	@$(BIN)/python -m tests.fuzz

# Deliberate faults, each of which some test must notice.
mutants: $(DEV)
	@PYTHONPATH=.:clients/python $(BIN)/python -m tests.mutants

# What uses clocks, sockets or processes, thirty times, with all cores kept busy; can be broken off and gone on with.
repeat: $(DEV) $(WEB)
	@PYTHONPATH=.:clients/python $(BIN)/python -m tests.repeat

# All that docs/reliability.md lists, within half an hour; and at full length, which can be broken off and gone on with.
reliability: $(DEV)
	@PYTHONPATH=.:clients/python $(BIN)/python -m tests.reliability --write

reliability-full: $(DEV)
	@PYTHONPATH=.:clients/python $(BIN)/python -m tests.reliability --scale full --resume

# Eight lossless streams, five million events a second together, two minutes.
soak: $(DEV)
	@PYTHONPATH=.:clients/python $(BIN)/python -m tests.reliability.soak

# docs/security.md, from the tests that try each threat.
security: $(DEV)
	@PYTHONPATH=.:clients/python $(BIN)/python -m tests.reliability.security --write

# The lock files carry hashes and no registry addresses, and hold for every Python >= 3.11 on x86-64 and ARM64.
lock:
	$(LOCK) pyproject.toml build-requirements.in -o requirements.lock
	$(LOCK) pyproject.toml build-requirements.in --group dev -c requirements.lock -o requirements-dev.lock
	$(LOCK) pyproject.toml --extra mqtt --extra camera --extra otel -c requirements-dev.lock -o docker/full.lock
	$(LOCK) docker/slim.in -c docker/full.lock -o docker/slim.lock
	$(LOCK) docker/build.in -c requirements.lock -o docker/build.lock

# What the image is made of, and what is known against it: docker/sbom.cdx.json and docs/vulnerabilities.md.
sbom: $(BIN)/python
	@$(PYTHON) -m venv $(VENV)/supply
	@$(VENV)/supply/bin/pip --disable-pip-version-check -q install cyclonedx-bom==7.5.0 pip-audit==2.10.1
	@$(VENV)/supply/bin/python docker/supply.py

sample: $(DEV)
	@$(BIN)/python -m pipeline.samples.render

train: $(DEV)
	@$(BIN)/polychrony train motif --preset motif8 --out pipeline/models/zoo/motif8
	@$(BIN)/polychrony train motif --preset motif36 --out pipeline/models/zoo/motif36

clean:
	rm -rf $(VENV) service/web clients/web/node_modules .polychrony .pytest_cache .hypothesis .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "polychrony needs Python 3.11 or newer")'
	@$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements.lock pyproject.toml clients/python/pyproject.toml | $(BIN)/python
	@echo "installing what the service needs into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e . -e clients/python
	@touch $@

$(WEB): $(WEB_SOURCES) | $(RUNTIME)
	@echo "building the dashboard ..."
	@$(BIN)/python clients/web/build.py

$(DEV): requirements-dev.lock $(RUNTIME)
	@echo "installing what tests and checks need into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

# `make up` runs the product, `make test` proves it; `make` alone prints this list.
# Needs Python >= 3.11 and make; everything else is installed from hash-pinned locks.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
T ?= tests/unit tests/property
SECONDS ?= 60
CORE := csms/ocpp/*,csms/domain/*,pki/x509/*,pki/authority/*

.DEFAULT_GOAL := help
.PHONY: help up test attack fuzz unit check cov bench lock clean

help:
	@echo "make up      install (hash-pinned), then run the whole product on its embedded defaults"
	@echo "make test    install what the tests need, then run every test on the real parts"
	@echo "make attack  the door and the CA under attack, at full size; a table of promises at the end"
	@echo "make fuzz    coverage-guided, over what strangers' text meets first   [SECONDS=60]"
	@echo "make unit    unit and property tests only: no network, seconds   [T=path]"
	@echo "make check   format, lint, types, import rules, generated code"
	@echo "make cov     all tests with branch coverage; the core rooms must reach their marks"
	@echo "make bench   measure, and write bench/results/latest.json"
	@echo "make lock    recompile requirements/ from pyproject.toml"

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "csms needs Python 3.11 or newer")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev requirements/fuzz.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	@touch $@

# Everything binds to loopback here, so the command line may use plain bearer tokens for writing.
up: $(VENV)/.runtime
	@CSMS_OAUTH__BEARER="$${CSMS_OAUTH__BEARER:-all}" $(BIN)/csms up

test: $(VENV)/.dev
	$(BIN)/python -m pytest --durations=10

attack: $(VENV)/.dev
	$(BIN)/python -m tests.attacks

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.attacks.fuzz --seconds $(SECONDS)

unit: $(VENV)/.dev
	$(BIN)/python -m pytest -q $(T)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy csms pki station tools tests bench
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/generate_messages.py --check
	$(BIN)/python tools/generate_settings_page.py --check

cov: $(VENV)/.dev
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run --parallel-mode -m pytest -q
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report --include='$(CORE)' --omit='csms/ocpp/messages/*' --fail-under=100
	$(BIN)/python -m coverage report --fail-under=80

bench: $(VENV)/.dev
	$(BIN)/python -m bench

lock: $(VENV)/.dev
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		pyproject.toml --extra openbao --group build -o requirements/runtime.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		pyproject.toml --extra openbao --group dev -c requirements/runtime.txt -o requirements/dev.txt
	for group in fuzz scanners-build scanners; do \
		$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
			--group $$group -o requirements/$$group.txt || exit; \
	done

clean:
	rm -rf $(VENV) .venv-scanners .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz

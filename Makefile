# make study      trains the default study into out/quickstart and ends with the path of its report
# make test       checks style and types and runs all tests but the slow ones: what a change can break
# make test-all   runs the slow ones, too: storms, hostile inputs, long simulations, other people's software
# make docs       builds the handbook, build/handbook/index.html
# All work on a bare Debian or Ubuntu machine with Python 3.11, 3.12 or 3.13: they make .venv themselves.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
PIP = .venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt

PYTEST = .venv/bin/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: study test test-slow test-all docs clean
.NOTPARALLEL:

study: .venv/installed
	.venv/bin/isoflop study quickstart --out out/quickstart

test: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright
	$(PYTEST) -m "not slow"

test-slow: .venv/installed-all
	ISOFLOP_TEST_EXTRAS=1 $(PYTEST) -m slow

test-all: test test-slow

docs: .venv/installed
	$(PIP) --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

.venv/installed: setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 found; install one or give PYTHON=…" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { test "$$(id -u)" = 0 && apt-get install -y python3-venv >/dev/null; } || \
		{ echo "make: $(PYTHON) cannot make a virtual environment; run: sudo apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(PIP) --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(PIP) --editable '.[dev]'
	touch $@

.venv/installed-all: .venv/installed-dev
	$(PIP) --editable '.[clients,dev,docs,hf,lm-eval]'
	$(PIP) --no-deps torchtune rlax chex toolz  # read by tests/experiments/posttraining/test_other_codebases.py
	$(PIP) --no-deps guidance instructor tenacity  # want other llguidance, jiter and rich, and work with these
	touch $@

clean:
	rm -rf .venv out build *.egg-info

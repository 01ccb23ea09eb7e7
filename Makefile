# make study   trains the default study into out/quickstart and ends with the path of its report
# make test    runs every test
# Both work on a bare Debian or Ubuntu machine with Python 3.11, 3.12 or 3.13: they make .venv themselves.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
PIP = .venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: study test clean

study: .venv/installed
	.venv/bin/isoflop study quickstart --out out/quickstart

test: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright
	.venv/bin/pytest --numprocesses 2 --dist loadfile

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

clean:
	rm -rf .venv out build *.egg-info

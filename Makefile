# `make demo` and `make test` make the environment they need; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help env demo test test-slow browser floors lint build docs clean

help:
	@echo "make demo       install into $(VENV) and run the bundled study: two minutes on 2 cores"
	@echo "make test       install into $(VENV) and run the default test suite"
	@echo "make test-slow  the tests that take minutes"
	@echo "make browser    install Chromium (Debian, Ubuntu), which the browser tests drive; without one they are skipped"
	@echo "make floors     tests of what reads studies, with the lowest versions that are allowed, in .venv-floors"
	@echo "make lint       ruff, and types by basedpyright against their baseline"
	@echo "make build      wheel and sdist, into dist/"
	@echo "make docs       the documentation as a web site, into site/; installs what makes it into .venv-docs, 200 MB"
	@echo "make clean      remove $(VENV)"

env: $(VENV)/.installed

# torch and torchvision go first: later packages must find them there and not choose a build of their own.
$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@echo "installing into $(VENV), 7 GB on disk in all; minutes, by the network"
	$(PYTHON) -m venv $(VENV)
	@echo "1 of 3: torch and torchvision with what they need of CUDA, about 5 GB on disk"
	@# Without a GPU the smaller builds for the CPU, where the index has them.
	{ command -v nvidia-smi >/dev/null || ! $(BIN)/python -m pip install --quiet $$(sed -nE 's/^(torch|torchvision)==.*/&+cpu/p' requirements.lock) 2>/dev/null; } \
		&& $(BIN)/python -m pip install --quiet $$(grep -E '^(torch|torchvision)==' requirements.lock) || true
	$(BIN)/python -c 'import torch, torchvision'
	@echo "2 of 3: all other packages of requirements.lock, about 2 GB on disk"
	$(BIN)/python -m pip install --quiet -r requirements.lock
	@echo "3 of 3: this package"
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

demo: env
	$(BIN)/sslmem demo

test: env
	$(BIN)/python -m pytest -n 2 --doctest-modules -m "not slow and not browser" sslmem_kit tests
	$(BIN)/python -m pytest -m "browser and not slow"

test-slow: env
	$(BIN)/python -m pytest -m slow

browser:
	command -v chromium || { SUDO=$$([ $$(id -u) = 0 ] || echo sudo); $$SUDO apt-get update && $$SUDO apt-get install -y --no-install-recommends chromium; }

floors:
	$(PYTHON) -m venv .venv-floors
	.venv-floors/bin/python -m pip install --quiet packaging pytest hypothesis jsonschema
	.venv-floors/bin/python -m pip install --quiet $$(.venv-floors/bin/python -m tests.support.floors)
	.venv-floors/bin/python -m pytest -o filterwarnings= -m "not slow and not browser" tests/scores tests/statistics tests/store tests/report tests/figures tests/explorer tests/spec

lint: env
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/basedpyright

build: env
	rm -rf dist && $(BIN)/python -m build

# A small environment of its own: pages are made of the sources, which are read and not imported.
docs: .venv-docs/.installed
	PATH="$(CURDIR)/.venv-docs/bin:$$PATH" NO_MKDOCS_2_WARNING=1 mkdocs build --strict
	@echo "open site/index.html; the search needs a server: $(PYTHON) -m http.server -b 127.0.0.1 -d site"

.venv-docs/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])' \
		| xargs .venv-docs/bin/python -m pip install --quiet
	touch $@

clean:
	rm -rf $(VENV) .venv-docs site

# `make search` installs and runs the default search; `make test` installs and runs linters and tests.
# `make wheel` makes one wheel with compiled CPU kernels inside, in dist/.
# TORCH_INDEX=<url> takes torch from another wheel index, such as PyTorch's own for CPU-only builds.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
JOBS ?= 2
ARGS ?=

# An environment whose Python is gone, or whose last installation did not end, is made anew by what needs one.
SOUND := { test ! -e $(VENV)/.installing && $(BIN)/python -c ''; } 2>/dev/null
BROKEN := $(shell test ! -e $(VENV) || $(SOUND) || echo broken)

.PHONY: search test test-slow lint screenshot wheel clean broken

search: $(VENV)/.installed-dashboard
	$(BIN)/nas search --space stacking $(ARGS)

test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(ARGS)

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "slow or not slow" $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

screenshot: $(VENV)/.installed-dev
	$(BIN)/python -m docs.screenshot

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m dcnv3.wheel --out dist

# A stamp is written last, so that an installation that broke off (no network, full disk) is begun anew by the next make.
$(VENV)/.installed-%: pyproject.toml constraints.txt $(BROKEN)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@echo "installing into $(VENV) (a few minutes the first time) ..."
	@$(SOUND) || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	@touch $(VENV)/.installing
	@test -z "$(TORCH_INDEX)" || $(PIP) --index-url "$(TORCH_INDEX)" torch
	@$(PIP) torch -e ".[$*]"
	@rm $(VENV)/.installing
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

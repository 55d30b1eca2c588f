# Everything here needs Python 3.11 or newer and make, nothing else: the targets make their own virtual environment.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help train test soak parity bench lint mutants clean

help:  ## Show this
	@echo "make train   train the default network on the digits; options: make train ARGS=\"--epochs 10\""
	@echo "make test    run the tests"
	@echo "make soak    kill training at 200 moments rather than 30, and see that it loses nothing"
	@echo "make parity  compare operations, losses and optimizers with PyTorch's, which it installs (gigabytes)"
	@echo "make bench   time whole steps of training beside PyTorch and JAX, which it installs (gigabytes)"
	@echo "make lint    check style and types"
	@echo "make mutants break the mathematics on purpose and count how many of the breaks the tests notice (minutes)"
	@echo "make clean   remove the virtual environment and what the other targets leave behind"
	@echo
	@echo "The targets install what they need into $(VENV), made by $(PYTHON); another: make train PYTHON=python3.12"

train: $(VENV)/train.installed  ## Train the default network
	@$(VENV)/bin/python scripts/train.py $(ARGS)

# a process for each core, so that one BLAS thread in each is all there is room for
test: $(VENV)/test.installed  ## Run the tests
	@OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto $(ARGS)

soak: $(VENV)/test.installed  ## Kill training again and again
	@FUNCNN_KILLS=200 $(VENV)/bin/python -m pytest tests/test_killed.py $(ARGS)

parity: $(VENV)/parity.installed  ## Compare with PyTorch
	@$(VENV)/bin/python -m pytest tests/parity $(ARGS)

bench: $(VENV)/bench.installed  ## Time whole steps of training beside PyTorch and JAX
	@$(VENV)/bin/python scripts/bench.py $(ARGS)

lint: $(VENV)/lint.installed  ## Check style and types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

mutants: $(VENV)/test.installed  ## Break the mathematics on purpose and count how many of the breaks the tests notice
	@$(VENV)/bin/python scripts/mutate.py $(ARGS)

clean:  ## Remove the virtual environment and what the other targets leave behind
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/%.installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing what make $* needs into $(VENV)" >&2
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is older than Python 3.11; name a newer one, as in: make train PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

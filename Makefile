# The targets need Python 3.11 or newer and make. They make a virtual environment and install everything else into it.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help train test proof bounds soak parity pretrained notebook bench lint mutants site page play dist clean

help:  ## Show this help
	@echo "make train   train the default network on the digits; with options: make train ARGS=\"--epochs 10\""
	@echo "make test    run the tests"
	@echo "make proof   run the proof of the mathematics with compiled kernels, as make test does at its end"
	@echo "make bounds  run the tests of compiled kernels with bounds checks"
	@echo "make soak    kill training at 200 moments instead of 30, and check that resuming loses nothing"
	@echo "make parity  compare operations, losses and optimizers with PyTorch, run in aeon and sktime (installs them: gigabytes)"
	@echo "make pretrained  compare networks that others trained with onnxruntime (downloads them: 0.2 gigabytes)"
	@echo "make notebook  execute a notebook, with the kernel that it installs"
	@echo "make bench   time training and prediction beside PyTorch and JAX (installs them: gigabytes)"
	@echo "make lint    check style and types"
	@echo "make mutants change the mathematics in many places, one at a time, and count how often the tests detect it"
	@echo "make site    build the site from the pages, the docstrings and the gallery's scripts into build/site/html"
	@echo "make page    test the page that trains in a browser, in Chromium (downloads Pyodide: 0.1 gigabytes)"
	@echo "make play    build the page that trains in a browser, and serve it to try it"
	@echo "make dist    build the wheel and the source distribution into dist, and check them"
	@echo "make clean   remove the virtual environment, builds and caches"
	@echo
	@echo "The targets install what they need into $(VENV), made by $(PYTHON); another: make train PYTHON=python3.12"

train: $(VENV)/cli.installed  ## Train the default network
	@$(VENV)/bin/python scripts/train.py $(ARGS)

# One process per core, and therefore one BLAS thread in each. Neighbours stay in one process, which makes what they share
# once.
test: $(VENV)/test.installed  ## Run the tests
	@OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses auto --dist worksteal $(ARGS)
	@test -n "$(findstring tests/,$(ARGS))" || $(MAKE) --no-print-directory proof

# What computes arrays is tested once more with compiled kernels, where numba can be installed. They are compiled before,
# and not in each process.
PROOF = tests/kernels tests/ops tests/layers tests/losses tests/optim tests/onnx tests/test_data_parallel.py \
	tests/test_derivatives.py tests/test_fusion.py tests/test_fusion_batch_norm.py tests/test_folding.py \
	tests/test_gradients.py tests/test_inference.py tests/test_layer.py tests/test_models.py
proof: $(VENV)/test.installed  ## Run the proof of the mathematics with compiled kernels
	@if $(VENV)/bin/python -c "import numba, scipy"; then \
		$(VENV)/bin/python -m funcnn compile --float64 --quiet && OPENBLAS_NUM_THREADS=1 FUNCNN_KERNELS=compiled \
			$(VENV)/bin/python -m pytest --numprocesses auto --dist worksteal $(PROOF); \
	else echo "make proof: skipped, compiled kernels need numba and SciPy, which this Python lacks"; fi

# A routine that leaves its arrays shows as an error here, elsewhere as other numbers or a crash.
bounds: $(VENV)/test.installed  ## Run the tests of compiled kernels with bounds checks
	@NUMBA_BOUNDSCHECK=1 $(VENV)/bin/python -m funcnn compile --float64 --quiet
	@NUMBA_BOUNDSCHECK=1 OPENBLAS_NUM_THREADS=1 FUNCNN_KERNELS=compiled $(VENV)/bin/python -m pytest \
		--numprocesses auto --dist worksteal tests/kernels $(ARGS)

soak: $(VENV)/test.installed  ## Kill training many times
	@FUNCNN_KILLS=200 $(VENV)/bin/python -m pytest tests/test_killed.py $(ARGS)

parity: $(VENV)/parity.installed  ## Compare with PyTorch
	@$(VENV)/bin/python -m pytest tests/parity $(ARGS)

pretrained: $(VENV)/pretrained.installed  ## Compare networks that others trained with onnxruntime
	@$(VENV)/bin/python -m pytest tests/pretrained $(ARGS)

notebook: $(VENV)/notebook.installed $(VENV)/test.installed  ## Execute a notebook
	@$(VENV)/bin/python -m pytest tests/test_notebook.py $(ARGS)

bench: $(VENV)/bench.installed  ## Time training and prediction beside PyTorch and JAX
	@$(VENV)/bin/python scripts/bench $(ARGS)

# Both tools only check funcnn, scripts and tests, as pyproject.toml says.
lint: $(VENV)/lint.installed  ## Check style and types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

mutants: $(VENV)/test.installed  ## Count how many changes of the mathematics the tests detect
	@$(VENV)/bin/python scripts/mutation $(ARGS)

site: $(VENV)/site.installed  ## Build the site; a warning is an error
	@$(VENV)/bin/python scripts/site/builder $(ARGS)

page: $(VENV)/page.installed  ## Test the page that trains in a browser
	@$(VENV)/bin/python -m pytest tests/playground $(ARGS)

play: $(VENV)/page.installed  ## Build the page that trains in a browser, and serve it
	@$(VENV)/bin/python scripts/site/builder/playground.py --serve $(ARGS)

# Both are the same bytes for the same commit: hatchling writes no times of its own.
dist: $(VENV)/dist.installed $(VENV)/test.installed  ## Build the wheel and the source distribution
	@rm -rf dist
	@$(VENV)/bin/python -m build
	@$(VENV)/bin/python -m twine check --strict dist/*
	@$(VENV)/bin/python scripts/check_dist.py dist

clean:  ## Remove the virtual environment, builds and caches
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/%.installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing what make needs for \"$*\" into $(VENV)" >&2
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is older than Python 3.11; name a newer one, as in: make train PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

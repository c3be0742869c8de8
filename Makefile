# run · test · lab · notebooks · bench: each sets up .venv by itself when it is
# missing or stale (another folder, other versions, a Python that is gone), and tries
# once to fetch the two real models that some lessons use.
PYTHON ?= python3
PY := .venv/bin/python
KEY := $(CURDIR) $(shell cat pyproject.toml requirements.lock | cksum)
# The cores that we may use: in a container its share, not all that the machine has.
JOBS ?= $(shell $(PY) -c 'import joblib; print(joblib.cpu_count())')
# The kernels that the libraries compute with: this machine's own, avx2, or reduced,
# those of an old processor (lmlab/runner/kernel_sets.py).
KERNELS ?= own
MODELS := smollm2 minilm
UNDER = kernels=$$($(PY) -m lmlab.runner.kernel_sets $(KERNELS)) && env $$kernels

help:
	@echo "make run        run every lesson: quick profile, no network; results in runs/"
	@echo "make test       ruff, the package's tests, and every notebook's stored outputs"
	@echo "make lab        JupyterLab on the lessons"
	@echo "make notebooks  re-execute the committed notebooks in place"
	@echo "make bench      the benchmarks: speed against the peers, as ratios"
	@echo "make gpu        with an NVIDIA GPU, eight minutes: its tests, speeds and lesson times"
	@echo "KERNELS=reduced (or avx2), with run or test: compute as another processor would"

run: setup
	@$(UNDER) LMLAB_OFFLINE=1 $(PY) -m lmlab.cli run --jobs $(JOBS)

# One BLAS thread per worker: two workers with two threads each collapse.
test: export OMP_NUM_THREADS := 1
test: export OPENBLAS_NUM_THREADS := 1
test: export MKL_NUM_THREADS := 1

test: setup
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(UNDER) $(PY) -m pytest -n $(JOBS) --dist loadfile --nbval --nbval-current-env \
		--nbval-cell-timeout=900 -r s tests notebooks

lab: setup
	@$(PY) -m jupyterlab notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

notebooks: setup
	@$(PY) -m lmlab.cli notebooks

bench: setup
	@for script in $(filter-out benchmarks/gpu.py,$(wildcard benchmarks/*.py)); do $(PY) $$script || exit 1; done

setup:
	@if [ "$$($(PY) -c '' 2>&1 && cat .venv/installed 2>&1)" != "$(KEY)" ]; then \
		$(MAKE) --no-print-directory install; \
	fi
	@[ -e .venv/models ] || $(MAKE) --no-print-directory models

models:
	@echo "Fetching two models, once: 176 MB to download, a minute to convert ..."
	@$(PY) -m lmlab.cli fetch --quiet $(MODELS) || true
	@touch .venv/models

install:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "lmlab needs Python 3.11 to 3.13: make PYTHON=python3.11 ..."; exit 1; }
	@echo "Setting up .venv: about 3 GB of packages, one to five minutes ..."
	@grep -qsF "$(CURDIR) " .venv/installed && $(PY) -c '' 2>/dev/null \
		|| $(PYTHON) -m venv --clear .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check \
		--constraint requirements.lock --editable '.[all]'
	@echo "$(KEY)" > .venv/installed

# Eight minutes on a machine with an NVIDIA GPU; what it finds is in benchmarks/gpu.md.
gpu: setup
	@LMLAB_OFFLINE=1 $(PY) benchmarks/gpu.py

.PHONY: help run test lab notebooks bench gpu setup models install

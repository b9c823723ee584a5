# `make install` creates .venv, which `make test` and `make demo` use. PYTHON selects the interpreter, 3.10 to 3.13.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: kernel gpu install wheel test fuzz lint test-slow test-device test-lowest audit demo screenshots clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[all]"
	touch $@

# One file for a device, in dist/: no index has edgemate. What an earlier build left would get into it.
wheel: install
	rm -rf build/lib build/bdist.* dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

# A test process that dies is a failure and ends the run. MINUTES limits the run in any case. The process is not replaced,
# since pytest-xdist 3.8 then loses count of its workers.
MINUTES ?= 60
BOUNDED := python tests/support/bounded.py $(MINUTES)
# Files in their order: by the number of their tests, those with few but long ones would come last and leave one process idle.
IN_PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test: install lint
	$(BIN)/$(BOUNDED) $(BIN)/python -m pytest -m "not slow" $(IN_PARALLEL)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

test-slow: install
	$(BIN)/$(BOUNDED) $(BIN)/python -m pytest -m slow

# Files that are nearly right, for everything that reads a file. A thousand cases are in `make test`. SEED begins elsewhere, and
# `python tests/fuzz/run.py --case TARGET:SEED` repeats one case.
CASES ?= 20000
SEED ?= 0

fuzz: install
	$(BIN)/python tests/fuzz/run.py --cases $(CASES) --seed $(SEED)

# The device side in a device's environment: Python 3.10 and the base dependencies, once without and once with ONNX Runtime.
# The ONNX files of the tests are written beforehand, in .venv, which has onnx.
PYTHON310 ?= $(shell for python in python3.10 $$HOME/.pyenv/versions/3.10.*/bin/python3.10; do \
	$$python -c "import venv" 2>/dev/null && echo $$python && break; done)
EXTRAS_ort := [ort]
DEVICE_TESTS := tests/core tests/bundle tests/trust tests/policies tests/calibration tests/monitoring tests/live \
	tests/test_latency_tables.py tests/runtime tests/test_machine.py \
	$(addprefix tests/test_,durable.py file_group.py files.py locks.py swapping.py) \
	$(addprefix tests/cli/test_,bench.py build.py calibrate.py classify.py doctor.py evaluate.py run.py on_tensorrt.py)

test-device: install .venv-device-base/.installed .venv-device-ort/.installed
	rm -rf build/test-bundles
	$(BIN)/python tests/support/bundles.py build/test-bundles
	EDGEMATE_TEST_BUNDLES=$(CURDIR)/build/test-bundles $(BIN)/$(BOUNDED) .venv-device-base/bin/python -m pytest -m "not slow" $(DEVICE_TESTS)
	EDGEMATE_TEST_BUNDLES=$(CURDIR)/build/test-bundles $(BIN)/$(BOUNDED) .venv-device-ort/bin/python -m pytest -m "not slow" $(DEVICE_TESTS)

.venv-device-%/.installed: pyproject.toml
	$(PYTHON310) -m venv .venv-device-$*
	.venv-device-$*/bin/python -m pip install --quiet --editable ".$(EXTRAS_$*)" hypothesis pytest pytest-timeout
	touch $@

# With the oldest versions that pyproject.toml allows, on the oldest Python.
test-lowest: .venv-lowest/.installed
	$(BIN)/$(BOUNDED) .venv-lowest/bin/python -m pytest -m "not slow" $(IN_PARALLEL)

.venv-lowest/.installed: $(VENV)/.installed tests/support/lowest.py
	$(PYTHON310) -m venv .venv-lowest
	$(BIN)/python tests/support/lowest.py > .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet --editable ".[export]" --requirement .venv-lowest/lowest.txt \
		hypothesis pytest pytest-timeout pytest-xdist
	touch $@

# Known vulnerabilities of what is installed, where pip-audit and its database can be reached, and the licenses.
audit: install
	-$(BIN)/python -c "import pip_audit" 2>/dev/null || $(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/python tests/support/audit.py

# From a recipe to predictions on real images, without a download.
demo: install
	$(BIN)/edgemate train recipes/digits/resnet20_mate.yaml --force
	$(BIN)/edgemate profile runs/digits-resnet20_mate --threads 1
	$(BIN)/edgemate export runs/digits-resnet20_mate --target onnx --output bundles/digits --force
	$(BIN)/edgemate images recipes/digits/resnet20_mate.yaml --count 12 --output images/digits --force
	$(BIN)/edgemate classify bundles/digits images/digits --threshold 0.9 --threads 1
	$(BIN)/edgemate bench bundles/digits --threads 1
	@echo "to type edgemate in this shell: . $(BIN)/activate"

# The documents' screenshots of a report, with Debian's chromium and chromium-driver. RUN must have been profiled.
RUN ?= runs/digits-resnet20_mate

screenshots: install
	$(BIN)/python tests/support/screenshots.py $(RUN)/report.html docs/profile

clean:
	rm -rf $(VENV) .venv-device-* .venv-lowest build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# The kernel that decides on the GPU, from its source. Needs nvcc of CUDA 13; what it gives is in the repository.
kernel: install
	$(BIN)/python tests/support/decision_kernel.py

# Everything that only a GPU can show, in ten minutes at most; docs/gpu.md lists it.
gpu: install
	$(BIN)/python tests/support/bounded.py 10 $(BIN)/python deploy/gpu_kit/checks.py

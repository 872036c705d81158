# Everything here works on a fresh machine with Python 3.11 to 3.13, make and git; `make help` lists the targets.
PYTHON ?= $(or $(shell for one in python3.11 python3.12 python3.13; do $$one -c "" 2>/dev/null && echo $$one && break; done),python3.11)
STORE ?= sqlite:///mlflow.db
PORT ?= 5000
VRD ?= ../shared/data/vrd
BENCHMARKS := long_campaign start_and_end calibration formats gains unknown campaign paired_accuracy sweep gpu timm_script survival throughput data_path predict load selector scale relations_vrd
SLOW ?= slow
CHAOS_SEEDS ?= 1,2,3,4,5,6,7,8,9,10
CHAOS_SWEEP_SEEDS ?= 1,2,3
CHAOS_POSTGRES_SEEDS ?= 1,2,3
CHAOS_RAY_SEEDS ?= 1,2
PHOTOS := $(if $(wildcard data/train),--photos data/train)
BIN := .venv/bin
READY := .venv/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY ?= true
# uv knows its own list of certificates; the system's also has those of a company's proxy.
export UV_SYSTEM_CERTS ?= true
# Where it is set, every process compiles all that it imports anew: its start takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test slow faults fuzz guided-fuzz chaos setup lint platforms sbom docs messages ui bench bench-quick gpu lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */\1\t/' | awk -F'\t' '{printf "  make %-11s %s\n", $$1, $$2}'

demo: $(READY)  ## a generated flower set and a whole small campaign through `mlflow run`, in demo/
	$(BIN)/python -m flowerml.cli.demo

# Each process has one half of the files, in their order, and takes over from the other at the end: what the tests of a
# file or folder share is made once.
test: $(READY)  ## the test suite (minutes)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# In the order of the folders: the longest files, the campaigns, then come first, and both processes end together.
slow: $(READY)  ## large models, whole runs, real servers, faults (most of an hour)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "$(SLOW)"

faults: $(READY)  ## what runs survive: kills, damage, full disks, silent servers; one table at the end
	$(BIN)/python -m pytest tests/faults

fuzz: $(READY)  ## damaged files and hostile texts, drawn at random: 2,000 for each reader, or FUZZ_EXAMPLES=N
	FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),2000) $(BIN)/python -m pytest -n 2 tests/fuzz

# Atheris has wheels for Linux and few versions of Python: it is installed for this alone.
guided-fuzz: $(READY)  ## the same readers with Atheris, which looks for inputs that reach new code: 60 s each, or FUZZ_SECONDS=N
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target .cache/atheris atheris==3.0.0
	PYTHONPATH=.cache/atheris $(BIN)/python tools/guided_fuzz.py --seconds $(or $(FUZZ_SECONDS),60)

chaos: $(READY)  ## campaigns and sweeps in seeded storms: kills, stops, a server and a disk that are gone, damaged checkpoints (an hour)
	CHAOS_SEEDS=$(CHAOS_SEEDS) CHAOS_SWEEP_SEEDS=$(CHAOS_SWEEP_SEEDS) CHAOS_POSTGRES_SEEDS=$(CHAOS_POSTGRES_SEEDS) \
		CHAOS_RAY_SEEDS=$(CHAOS_RAY_SEEDS) $(BIN)/python -m pytest -n 0 tests/chaos

setup: $(READY)  ## the environment in .venv

# Installs only when the pins or the package's declaration have changed. The package itself is installed in place (flowerml on PATH).
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "error: $(PYTHON) is not Python 3.11, 3.12 or 3.13: install one, or name it with make PYTHON=PATH"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)"
	$(BIN)/uv pip install --quiet --require-hashes --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(READY)

lint: $(READY)  ## style, types, layers, known weaknesses
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --severity-level medium --recursive flowerml entrypoints tools
	$(BIN)/python tools/audit.py

platforms: $(READY)  ## for which Pythons and systems the lock can be installed; tests with the Pythons that are here (minutes)
	$(BIN)/python tools/platforms.py

sbom: $(READY)  ## the bill of materials of requirements.lock (CycloneDX) in build/sbom.cdx.json
	mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-format JSON --output-file build/sbom.cdx.json

docs: $(READY)  ## the pages of docs/ as a website in build/site; a broken link fails it
	$(BIN)/python tools/settings_page.py
	$(BIN)/zensical build --clean --strict

messages: $(READY)  ## the French catalogue: new texts of the code into the .po file, compile it
	$(BIN)/python tools/messages.py

ui: $(READY)  ## the MLflow pages of STORE (default: sqlite:///mlflow.db) on loopback
	$(BIN)/flowerml ui --store $(STORE) --port $(PORT)

bench: export BENCH_RESULTS := benchmarks/RESULTS.md
bench: $(READY)  ## measurements, as tables and in benchmarks/RESULTS.md (half an hour, an hour with photos in data/train)
	rm -f $(BENCH_RESULTS)
	$(BIN)/python benchmarks/timm_script.py $(if $(TIMM),--timm $(TIMM)) $(PHOTOS)
	$(BIN)/python benchmarks/start_and_end.py $(PHOTOS)
	$(BIN)/python benchmarks/throughput.py $(PHOTOS)
	$(BIN)/python benchmarks/data_path.py $(PHOTOS)
	$(BIN)/python benchmarks/predict.py $(PHOTOS)
	$(BIN)/python benchmarks/load.py
	$(BIN)/python benchmarks/selector.py --stores sqlite
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/long_campaign.py
	@if test -d $(VRD); then $(BIN)/python benchmarks/relations_vrd.py --vrd $(VRD); else echo "no folder $(VRD): relations_vrd.py is left out"; fi
	@if test -d data/train; then $(BIN)/python benchmarks/survival.py; else echo "no photos in data/train: survival.py is left out"; fi

gpu: $(READY)  ## what needs a GPU, into benchmarks/RESULTS_GPU.md (under ten minutes)
	$(BIN)/python benchmarks/gpu.py $(PHOTOS)

# Two at a time on a thread each: its figures mean nothing.
bench-quick: $(READY)  ## every benchmark once with a small model and generated pictures (about two minutes)
	printf '%s\n' $(BENCHMARKS) | xargs -P 2 -I NAME env OMP_NUM_THREADS=1 $(BIN)/python benchmarks/NAME.py --quick

lock: $(READY)  ## resolve pyproject.toml anew into requirements.lock and conda.yaml
	$(BIN)/python tools/lock.py

clean:  ## remove caches and the demo; runs, stores and .venv stay
	rm -rf demo .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# make demo   set up, then run the whole pipeline on open data (CPU, about five minutes)
# make test   set up, then run the tests but the slow ones (some minutes, in parallel)
# make test-all  every test: also a small run of the whole pipeline, kills, clusters, browsers
# make paddleseg  make the environment that PaddleSeg's models need (.venv-paddleseg)
# make lint   formatting, static checks, the documentation
# make docs   the documentation as pages, at a local address
# make clean  remove results of the demo, keep the environment
# make clusters  also install what Snakemake needs for Slurm, Kubernetes, other schedulers and S3
# make faults    kill runs at random moments, disturb a Slurm started here, install on a bare Debian; an hour and more
# make fuzz      damaged and hostile files for every reader, ten minutes on all cores
# make audit     known vulnerabilities of the pinned versions
# make lock      renew the hashes of the pinned versions; needs uv
PYTHON ?= python3
BIN := .venv/bin
CORES ?= all
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# An installed build of this version, for CPUs, ROCm or another CUDA, is left as it is.
TORCH := $(shell sed -n 's/^torch==\([0-9.]*\).*/\1/p' envs/requirements-torch.txt)
# Whether the PyTorch that pip chose for this computer asks for NVIDIA's libraries.
NEEDS_CUDA := from importlib.metadata import requires; from packaging.requirements import Requirement as R; found = [R(r) for r in requires("torch")]; raise SystemExit(not any(r.name.startswith(("nvidia", "cuda")) and (not r.marker or r.marker.evaluate()) for r in found))

.PHONY: help setup paddleseg clusters demo test test-all faults fuzz audit lock lint docs format bench clean

help:
	@sed -n 's/^# make/make/p' Makefile

setup: .venv/.ready

.venv/.ready: envs/requirements.txt envs/requirements-torch.txt envs/requirements-cuda.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; run: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "cannot make a virtual environment; on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -c 'from importlib.metadata import version; assert version("torch").split("+")[0] == "$(TORCH)"' 2> /dev/null || { rm -rf build/torch \
		&& $(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest build/torch torch==$(TORCH) \
		&& $(PIP) --no-deps --require-hashes --no-index --find-links build/torch -r envs/requirements-torch.txt && rm -r build/torch; }
	$(PIP) --no-deps --require-hashes -r envs/requirements.txt
	@! $(BIN)/python -c '$(NEEDS_CUDA)' || $(PIP) --no-deps --require-hashes -r envs/requirements-cuda.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.ready-dev: .venv/.ready envs/requirements-dev.txt envs/requirements-docs.txt
	$(PIP) --no-deps --require-hashes -r envs/requirements-dev.txt -r envs/requirements-docs.txt
	@touch $@

clusters: .venv/.ready-clusters

.venv/.ready-clusters: .venv/.ready envs/requirements-clusters.txt
	$(PIP) --no-deps --require-hashes -r envs/requirements-clusters.txt
	@touch $@

paddleseg: .venv-paddleseg/.ready

.venv-paddleseg/.ready: envs/requirements-paddleseg.txt
	test -x .venv-paddleseg/bin/python || $(PYTHON) -m venv .venv-paddleseg
	.venv-paddleseg/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r envs/requirements-paddleseg.txt
	@touch $@

demo: setup
	$(BIN)/snakemake --cores $(CORES)

# One thread in each of pytest's processes: they are as many as cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

test: .venv/.ready-dev
	$(PYTEST) -n logical --maxprocesses 8 --dist worksteal

test-all: .venv/.ready-dev .venv/.ready-clusters
	$(PYTEST) -n logical --maxprocesses 8 --dist worksteal --durations 25 tests

faults: .venv/.ready-dev .venv/.ready-clusters
	AG3D_LONG_TESTS=1 $(PYTEST) --timeout 7200 tests/clusters tests/environments/test_container_images.py

fuzz: .venv/.ready-dev
	$(BIN)/python -m tests.fuzz --seconds 600 --seed $$(date +%s) --results build/fuzz.json

# Known vulnerabilities of the pinned versions; asks the advisory service of the package index.
audit: .venv/.ready
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	for part in requirements requirements-torch requirements-cuda requirements-clusters requirements-dev requirements-docs; do build/audit/bin/pip-audit --strict --disable-pip --require-hashes -r envs/$$part.txt || exit 1; done

lock:
	$(PYTHON) envs/lock.py

lint: .venv/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy --config-file pyproject.toml ag3d
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

docs: .venv/.ready-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

format: .venv/.ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/snakefmt Snakefile workflow

bench: setup
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf results .snakemake

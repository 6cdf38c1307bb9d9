# make demo   set up, then run the whole pipeline on open data (CPU, about ten minutes)
# make test   set up, then run the tests
# make paddleseg  make the environment that PaddleSeg's models need (.venv-paddleseg)
# make lint   formatting, static checks
# make clean  remove results of the demo, keep the environment
PYTHON ?= python3
BIN := .venv/bin
CORES ?= all

.PHONY: help setup paddleseg demo test lint format bench clean

help:
	@sed -n 's/^# make/make/p' Makefile

setup: .venv/.ready

.venv/.ready: envs/requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; run: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "cannot make a virtual environment; on Debian or Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

.venv/.ready-dev: .venv/.ready envs/requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r envs/requirements-dev.txt
	@touch $@

paddleseg: .venv-paddleseg/.ready

.venv-paddleseg/.ready: envs/requirements-paddleseg.txt
	test -x .venv-paddleseg/bin/python || $(PYTHON) -m venv .venv-paddleseg
	.venv-paddleseg/bin/python -m pip install --quiet --disable-pip-version-check -r envs/requirements-paddleseg.txt
	@touch $@

demo: setup
	$(BIN)/snakemake --cores $(CORES)

test: .venv/.ready-dev
	$(BIN)/python -m pytest

lint: .venv/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	rm -rf build/types && mkdir -p build/types
	cp -rs $(CURDIR)/ag3d build/types/ag3d
	for part in preprocessing model evaluation; do cp -rs $(CURDIR)/$$part build/types/ag3d/$$part; done
	$(BIN)/mypy --config-file pyproject.toml build/types/ag3d

format: .venv/.ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/snakefmt Snakefile workflow

bench: setup
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf results .snakemake

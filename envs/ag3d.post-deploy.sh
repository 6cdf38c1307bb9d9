#!/usr/bin/env bash
# Snakemake runs this in the environment that it made of ag3d.yaml; the Snakefile names the project's folder.
set -euo pipefail
python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable "$AG3D_SOURCE"

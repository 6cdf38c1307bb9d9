"""A local S3 server with an empty bucket, and the results of a run in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from support.slurm_by_hand import free_ports

pytest.importorskip("snakemake_storage_plugin_s3", reason="make clusters installs it")
boto3 = pytest.importorskip("boto3", reason="make clusters installs it")
moto = pytest.importorskip("moto.server", reason="make .venv/.ready-dev installs it")

BUCKET, PREFIX = "bucket", "of/mine"


@contextlib.contextmanager
def s3() -> Iterator[tuple[Any, dict[str, str]]]:
    """A client, and the variables that lead Snakemake there."""
    (port,) = free_ports(1)
    started = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    started.start()
    place = f"http://127.0.0.1:{port}"
    # A server's buckets outlive it, in this process: those of an earlier test are not to be found.
    urlopen(Request(f"{place}/moto-api/reset", method="POST")).close()
    client = boto3.client(
        "s3", endpoint_url=place, region_name="us-east-1", aws_access_key_id="name", aws_secret_access_key="key"
    )
    client.create_bucket(Bucket=BUCKET)
    names = {"ENDPOINT_URL": place, "ACCESS_KEY": "name", "SECRET_KEY": "key"}
    try:
        yield client, {f"SNAKEMAKE_STORAGE_S3_{name}": value for name, value in names.items()}
    finally:
        started.stop()


def send(client: Any, folder: Path) -> None:
    """What is in `folder`/results goes to the bucket, and only there."""
    for path in sorted((folder / "results").rglob("*")):
        if path.is_file():
            client.upload_file(str(path), BUCKET, f"{PREFIX}/{path.relative_to(folder)}")
            path.unlink()


def fetch(client: Any, folder: Path) -> Path:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for entry in page.get("Contents", []):
            path = folder / entry["Key"].removeprefix(f"{PREFIX}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(BUCKET, entry["Key"], str(path))
    return folder

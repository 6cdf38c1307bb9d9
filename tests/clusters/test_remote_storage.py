"""Results in object storage: the workflow on a local S3 server gives what it gives on a disk.

One stage; AG3D_LONG_TESTS=1 makes it data set and training.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_run
from slurm_by_hand import free_ports

pytest.importorskip("snakemake_storage_plugin_s3", reason="make clusters installs it")
boto3 = pytest.importorskip("boto3", reason="make clusters installs it")
moto = pytest.importorskip("moto.server", reason="make .venv/.ready-dev installs it")

BUCKET, PREFIX = "bucket", "of/mine"
STORAGE = ["--default-storage-provider", "s3", "--default-storage-prefix", f"s3://{BUCKET}/{PREFIX}"]


@pytest.fixture
def server() -> Iterator[tuple[Any, dict[str, str]]]:
    """A client with an empty bucket, and the variables that lead Snakemake there."""
    (port,) = free_ports(1)
    started = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    started.start()
    place = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3", endpoint_url=place, region_name="us-east-1", aws_access_key_id="name", aws_secret_access_key="key"
    )
    client.create_bucket(Bucket=BUCKET)
    names = {"ENDPOINT_URL": place, "ACCESS_KEY": "name", "SECRET_KEY": "key"}
    yield client, {f"SNAKEMAKE_STORAGE_S3_{name}": value for name, value in names.items()}
    started.stop()


def send(client: Any, folder: Path) -> None:
    """Body and landmark models, which are not made anew."""
    for path in sorted((folder / "results").rglob("*")):
        if path.is_file():
            client.upload_file(str(path), BUCKET, f"{PREFIX}/{path.relative_to(folder)}")


def fetch(client: Any, folder: Path) -> Path:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for entry in page.get("Contents", []):
            path = folder / entry["Key"].removeprefix(f"{PREFIX}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(BUCKET, entry["Key"], str(path))
    return folder


def test_results_in_a_bucket(tmp_path, open_body_path, undisturbed, server):
    client, variables = server
    work = tmp_path / "work"
    small_run.prepare(work, open_body_path, small_run.settings(gpus=0))
    send(client, work)
    for path in (work / "results").rglob("*"):
        if path.is_file():
            path.unlink()  # what is read comes from the bucket
    wanted = {name for name in undisturbed if "/train/" not in name and "/synthetic/" not in name}
    targets = ["data", "train"]
    if not small_run.LONG:
        wanted = {f"{small_run.DATA}/{stage}/00000.parquet" for stage in ("photos", "people")}
        targets = [f"results/{small_run.DATA}/people/00000.parquet"]
    done = small_run.snakemake(work, *targets, "--cores", "2", *STORAGE, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    found = small_run.results(fetch(client, tmp_path / "fetched"))
    assert {name: found.get(name) for name in wanted} == {name: undisturbed[name] for name in wanted}
    kept = [path for path in (work / "results").rglob("*") if path.is_file()]
    assert all("synthetic" in path.parts for path in kept), kept  # photographs stay on the disk, results do not
    again = small_run.snakemake(work, *targets, "--cores", "2", *STORAGE, **variables)
    assert "Nothing to be done" in again.stdout + again.stderr, again.stdout + again.stderr


def test_a_damaged_object_is_told(tmp_path, open_body_path, server):
    """A result that was changed in the bucket after another was made from it."""
    client, variables = server
    work = tmp_path / "work"
    small_run.prepare(work, open_body_path, small_run.settings(gpus=0))
    send(client, work)
    root = f"results/{small_run.DATA}"
    done = small_run.snakemake(work, f"{root}/mattes/00000.zip", "--cores", "2", *STORAGE, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    key = f"{PREFIX}/results/{small_run.DATA}/people/00000.parquet"
    data = bytearray(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    data[len(data) // 3] ^= 1
    client.put_object(Bucket=BUCKET, Key=key, Body=bytes(data))
    told = small_run.snakemake(
        work, f"{root}/fits/00000.parquet", "--cores", "1", "--rerun-triggers", "params", *STORAGE, **variables
    )
    assert told.returncode != 0
    assert "people/00000.parquet" in told.stdout + told.stderr

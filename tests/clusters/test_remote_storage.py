"""Results in object storage: the workflow on a local S3 server gives what it gives on a disk.

One stage; AG3D_LONG_TESTS=1 makes it data set, training and metrics.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import small_run
from support.s3_server import BUCKET, PREFIX, fetch, s3, send

pytestmark = pytest.mark.slow

STORAGE = ["--default-storage-provider", "s3", "--default-storage-prefix", f"s3://{BUCKET}/{PREFIX}"]


@pytest.fixture
def server() -> Iterator[tuple[Any, dict[str, str]]]:
    with s3() as started:
        yield started


def run(work: Path, variables: dict[str, str], *arguments: str) -> str:
    done = small_run.snakemake(work, *arguments, "--cores", "2", *STORAGE, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_results_in_a_bucket(tmp_path, open_body_path, server, request):
    client, variables = server
    work = tmp_path / "work"
    small_run.prepare(work, open_body_path, small_run.settings(gpus=0))
    send(client, work)
    if small_run.LONG:
        targets = ["data", "train", "evaluate"]
        expected = small_run.undisturbed(tmp_path / "disk", open_body_path, *targets)
        # The bucket holds what rules declare: not photographs, a training's own folder, kept features of the data set.
        left = ("/synthetic/", "/training/run.json", "/training/metrics.jsonl", "/previews/", "/state.", "/features-")
        wanted = {name for name in expected if not any(part in name for part in left)}
        assert any("/metrics/" in name for name in wanted)
    else:
        targets = [f"results/{small_run.DATA}/people/00000.parquet"]
        expected = request.getfixturevalue("undisturbed")
        wanted = {f"{small_run.DATA}/{stage}/00000.parquet" for stage in ("photos", "people")}
    run(work, variables, *targets, "--until", "synthetic")
    time.sleep(1.1)  # S3 tells whole seconds: what is made from these within theirs looks older, and is made again
    if small_run.LONG:
        first, second = sorted(Path(name).parts[-2] for name in wanted if name.endswith("/checkpoint.json"))
        run(work, variables, f"results/{small_run.RUN}/training/{first}/checkpoint.json")
        # With it goes the training's own folder, as where every job has a disk of its own.
        shutil.rmtree(work / ".snakemake/storage")
    run(work, variables, *targets)
    if small_run.LONG:
        log = client.get_object(Bucket=BUCKET, Key=f"{PREFIX}/results/{small_run.RUN}/logs/training/{second}.log")
        assert "going on from 12 images" in log["Body"].read().decode()
    found = small_run.results(fetch(client, tmp_path / "fetched"))
    assert {name: found.get(name) for name in wanted} == {name: expected[name] for name in wanted}
    kept = [path for path in (work / "results").rglob("*") if path.is_file()]
    assert all("synthetic" in path.parts for path in kept), kept
    assert "Nothing to be done" in run(work, variables, *targets)


@pytest.mark.skipif(not small_run.LONG, reason="takes minutes; AG3D_LONG_TESTS=1 asks for it")
def test_a_damaged_object_is_told(tmp_path, open_body_path, server):
    """A result that was changed in the bucket after another was made from it."""
    client, variables = server
    work = tmp_path / "work"
    small_run.prepare(work, open_body_path, small_run.settings(gpus=0))
    send(client, work)
    data = f"results/{small_run.DATA}"
    run(work, variables, f"{data}/matting/00000.zip")
    key = f"{PREFIX}/{data}/people/00000.parquet"
    content = bytearray(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    content[len(content) // 3] ^= 1
    client.put_object(Bucket=BUCKET, Key=key, Body=bytes(content))
    told = small_run.snakemake(work, f"{data}/matting/00000.zip", "--cores", "1", *STORAGE, **variables)
    assert told.returncode != 0
    log = client.get_object(Bucket=BUCKET, Key=f"{PREFIX}/{data}/logs/matting/00000.log")["Body"].read().decode()
    assert "people/00000.parquet is not a readable Parquet file" in log
    assert "Traceback" not in log

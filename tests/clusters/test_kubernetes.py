"""The profile for Kubernetes, against a stand-in of its server that runs a pod's command here, and a local S3 server.

What pods ask for, and that they find sources and results in the bucket alone. No real cluster.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import small_run
from support.s3_server import BUCKET, PREFIX, fetch, s3, send

pytestmark = pytest.mark.slow

pytest.importorskip("snakemake_executor_plugin_kubernetes", reason="make clusters installs it")


class Kubernetes:
    """Jobs and secrets, as far as the executor asks for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets: dict[str, dict[str, str]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def start(self, job: dict[str, Any]) -> None:
        """The pod's command in an empty folder, with nothing of this environment but its variables and the image's PATH."""
        name = job["metadata"]["name"]
        (pod,) = job["spec"]["template"]["spec"]["containers"]
        work = self.folder / name
        work.mkdir()
        environment = {
            "HOME": str(work),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "OMP_NUM_THREADS": "1",
        }
        if "AG3D_CACHE" in os.environ:
            environment["AG3D_CACHE"] = os.environ["AG3D_CACHE"]
        for entry in pod.get("env", []):
            wanted = entry["valueFrom"]["secretKeyRef"]
            environment[entry["name"]] = base64.b64decode(self.secrets[wanted["name"]][wanted["key"]]).decode()
        with open(self.folder / f"{name}.log", "wb") as screen:
            self.running[name] = subprocess.Popen(
                [*pod["command"], *pod["args"]], cwd=work, env=environment, stdout=screen, stderr=screen
            )
        self.jobs[name] = job

    def status(self, name: str) -> dict[str, Any]:
        code = self.running[name].poll()
        state = {} if code is None else {"succeeded": 1} if code == 0 else {"failed": 1}
        return {**self.jobs[name], "status": state}

    def handler(self) -> type[BaseHTTPRequestHandler]:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, content: dict[str, Any], code: int = 200) -> None:
                data = json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def content(self) -> dict[str, Any]:
                return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")

            def do_POST(self) -> None:
                content = self.content()
                if self.path.endswith("/secrets"):
                    cluster.secrets[content["metadata"]["name"]] = content.get("data", {})
                elif self.path.endswith("/jobs"):
                    cluster.start(content)
                self.answer(content, 201)

            def do_GET(self) -> None:
                if found := re.search(r"/jobs/([^/?]+)/status", self.path):
                    self.answer(cluster.status(found.group(1)))
                else:
                    self.answer({"items": [], "metadata": {}})

            def do_DELETE(self) -> None:
                self.content()
                self.answer({"status": "Success"})

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def configuration(self, path: Path) -> None:
        place = f"http://127.0.0.1:{self.server.server_port}"
        one = {"name": "one"}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "one",
            "clusters": [one | {"cluster": {"server": place}}],
            "users": [one | {"user": {"token": "token"}}],
            "contexts": [one | {"context": {"cluster": "one", "user": "one"}}],
        }
        path.write_text(yaml.safe_dump(content))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Kubernetes, Any, dict[str, str]]]:
    folder = tmp_path / "pods"
    folder.mkdir()
    started = Kubernetes(folder)
    started.configuration(tmp_path / "kubeconfig")
    with s3() as (client, variables):
        yield started, client, {**variables, "KUBECONFIG": str(tmp_path / "kubeconfig")}
    for process in started.running.values():
        process.kill()
    started.server.shutdown()


def copy_of_the_project(folder: Path) -> None:
    """Pods get the files that git knows, from below the working directory."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=small_run.ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("the sources are sent as git lists them, and this is no checkout")
    for name in listed.stdout.split("\0"):
        if name and (small_run.ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(small_run.ROOT / name, folder / name, follow_symlinks=False)
    for line in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *line], cwd=folder, check=True)


def snakemake(work: Path, variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.run(
        line, cwd=work, env=small_run.environment(**variables), capture_output=True, text=True, timeout=1200
    )


def test_pods_work_from_the_bucket(tmp_path, open_body_path, cluster):
    kubernetes, client, variables = cluster
    work = tmp_path / "work"
    settings = small_run.settings(gpus=1)
    small_run.prepare(work, open_body_path, settings)
    rendered = small_run.snakemake(work, f"results/{small_run.DATA}/synthetic/photos", "--cores", "2")
    assert rendered.returncode == 0, rendered.stderr
    photos = tmp_path / "photos"
    (work / "results" / small_run.DATA / "synthetic/photos").rename(photos)
    shutil.rmtree(work / "results" / small_run.DATA)
    send(client, work)
    copy_of_the_project(work)
    settings["photos"] = {"source": "folder", "path": str(photos), "shards": 1}
    (work / "config.yaml").write_text(yaml.safe_dump(settings))
    targets = [f"results/{small_run.DATA}/people/00000.parquet"]
    options = ["--workflow-profile", "profiles/kubernetes", "--default-storage-prefix", f"s3://{BUCKET}/{PREFIX}"]
    done = snakemake(work, variables, *targets, *options, "--seconds-between-status-checks", "2")
    logs = "".join(path.read_text()[-3000:] for path in kubernetes.folder.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert "Only files relative to the working directory" not in done.stderr
    fetched = small_run.results(fetch(client, tmp_path / "fetched"))
    assert f"{small_run.DATA}/people/00000.parquet" in fetched
    # Photographs are listed where they are, here; what is made from them, in pods that see the same volume.
    (job,) = kubernetes.jobs.values()
    (pod,) = job["spec"]["template"]["spec"]["containers"]
    assert pod["image"] == "registry.example.org/ag3d:latest"
    assert pod["resources"]["requests"]["memory"] == "2000M"
    assert {"name": "photos", "mountPath": "/photos"} in pod["volumeMounts"]
    plan = snakemake(work, variables, "train", *options, "--dry-run")
    assert plan.returncode == 0, plan.stdout + plan.stderr


def test_rules_with_gpus_name_their_kind():
    """Without it the executor refuses them, and without a scale of 0 a GPU is no limit, as Kubernetes wants it."""
    profile = yaml.safe_load((small_run.ROOT / "profiles/kubernetes/config.yaml").read_text())["set-resources"]
    rules: list[str] = []
    for path in sorted(small_run.ROOT.glob("workflow/rules/*.smk")):
        rules += re.split(r"^ *(?:use rule \w+ as |rule )", path.read_text(), flags=re.MULTILINE)[1:]
    names = {re.match(r"\w+", rule).group() for rule in rules if re.search(r"gpu=|TRAINING_NODES", rule)}
    names |= {f"ablation_{name}" for name in names & {"training", "metrics"}}
    assert {"training", "metrics", "avatars"} <= names
    for name in names:
        assert profile[name]["gpu_manufacturer"] == "'nvidia'", name
        assert profile[name]["scale"] == 0, name

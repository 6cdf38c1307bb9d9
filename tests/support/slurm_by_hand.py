"""A real Slurm on this machine: munged, slurmctld and several slurmd as nodes, started by hand, stopped by process id.

Everything of it lies in one folder and on ports of its own; nothing of a Slurm that the machine may have is touched.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
ReturnToService=0
MpiDefault=none
SwitchType=switch/none
MinJobAge=300
JobRequeue=1
KillWait=15
SchedulerParameters=sched_interval=2,batch_sched_delay=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
{nodes}
PartitionName=cpu Nodes=ALL Default=YES MaxTime=UNLIMITED State=UP
PartitionName=gpu Nodes=ALL MaxTime=UNLIMITED State=UP
"""


def missing() -> str:
    """Why a Slurm cannot be started here; empty if it can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if absent:
        return f"no {', '.join(absent)} on this machine (Debian: apt install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "slurmd needs to be root to start jobs"


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)


class Slurm:
    def __init__(self, root: Path, nodes: int, cpus: int, memory: int) -> None:
        self.root, self.names = root, [f"n{index}" for index in range(1, nodes + 1)]
        ports = free_ports(nodes + 1)
        host = socket.gethostname().split(".")[0]
        lines = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory} State=UNKNOWN"
            for name, port in zip(self.names, ports[1:], strict=True)
        )
        text = CONF.format(host=host, ports=ports, user=getpass.getuser(), root=root, nodes=lines)
        (root / "slurm.conf").write_text(text)
        (root / "cgroup.conf").write_text("CgroupAutomount=no\n")
        key = root / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        (root / "state").mkdir()
        # Snakemake takes Slurm's variables out of a job's environment, so the commands carry the place of their file.
        (root / "bin").mkdir()
        for name in ("sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo"):
            script = f'#!/bin/sh\nSLURM_CONF={root}/slurm.conf exec {shutil.which(name, path=PATH)} "$@"\n'
            (root / "bin" / name).write_text(script)
            (root / "bin" / name).chmod(0o755)
        self.environment = {**os.environ, "SLURM_CONF": f"{root}/slurm.conf", "PATH": f"{root}/bin:{PATH}"}

    def _daemon(self, *command: str) -> None:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    def start(self) -> None:
        root = self.root
        munge = [
            "--socket",
            f"{root}/munge.socket",
            "--key-file",
            f"{root}/munge.key",
            "--log-file",
            f"{root}/munged.log",
        ]
        self._daemon(
            "munged", "--force", *munge, "--pid-file", f"{root}/munged.pid", "--seed-file", f"{root}/munged.seed"
        )
        self._daemon("slurmctld")
        for name in self.names:
            self.start_node(name)
        wait_for(lambda: self.states().count("idle") == len(self.names), 60, "nodes idle")

    def start_node(self, name: str) -> None:
        self._daemon("slurmd", "-N", name)

    def states(self) -> list[str]:
        return self.ask("sinfo", "--noheader", "--Node", "--partition", "cpu", "--format", "%T").split()

    def ask(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def jobs(self, comment: str = "", states: Sequence[str] = ("RUNNING",)) -> list[tuple[str, str]]:
        """(job, first node) of the jobs whose comment (the rule's name) holds `comment`."""
        lines = self.ask("squeue", "--noheader", "--states", ",".join(states), "--format", "%i|%N|%k").splitlines()
        found = [line.split("|", 2) for line in lines]
        return [(job, node) for job, node, text in found if comment in text]

    def stop(self) -> None:
        """By process id, the nodes first."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.ask("scancel", "--user", getpass.getuser())
        for name in (*(f"slurmd-{name}" for name in self.names), "slurmctld", "munged"):
            with contextlib.suppress(OSError, ValueError):
                pid = int((self.root / f"{name}.pid").read_text())
                os.kill(pid, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists(), 20, name)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def slurm(root: Path, nodes: int, cpus: int = 4, memory: int = 64000) -> Iterator[Slurm]:
    cluster = Slurm(root, nodes, cpus, memory)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()

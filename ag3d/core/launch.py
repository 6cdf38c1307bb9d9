"""Start a module in as many processes as GPUs are asked for, on one computer or, inside a Slurm job, on several.

One process is started as it is; several by torchrun, which ends all if one fails. Over several computers, Slurm's srun
starts a torchrun on each, and these find each other at the first of them. The processes get the same network whatever
their number, so it may change between two starts.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from ag3d.core import console
from ag3d.core.errors import UserError

TORCHRUN = ["-m", "torch.distributed.run"]
LAUNCHER = "AG3D_LAUNCHER"  # in the environment: the process of torchrun
GRACE = 30.0  # seconds between being asked to end and ending


def ask(*command: str) -> str:
    """What a command of Slurm prints."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except FileNotFoundError as error:
        raise UserError(f"{command[0]} is not on this computer: is Slurm installed on the nodes?") from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{shlex.join(command)} failed: {str(error.stderr or 'no answer').strip()}") from error


def rendezvous(job: str, ask: Callable[..., str] = ask) -> list[str]:
    """torchrun's options by which the nodes of a Slurm job find each other; a requeued job meets at another place.

    From Slurm itself: Snakemake takes most of Slurm's variables out of the environment, and the nodes' names need not be
    known to the resolver.
    """
    described = ask("scontrol", "show", "job", job)
    nodes, restarts = re.search(r"\bNodeList=(\S+)", described), re.search(r"\bRestarts=(\d+)", described)
    if nodes is None:
        raise UserError(f"Slurm does not tell the nodes of job {job}: {described.strip()[:200]}")
    first = ask("scontrol", "show", "hostnames", nodes.group(1)).split()[0]
    address = re.search(r"\bNodeAddr=(\S+)", ask("scontrol", "show", "node", first))
    restart = int(restarts.group(1)) if restarts else 0
    port = 20000 + (int(job) * 7 + restart) % 20000
    endpoint = f"{address.group(1) if address else first}:{port}"
    return ["--rdzv-backend=c10d", f"--rdzv-id={job}.{restart}", f"--rdzv-endpoint={endpoint}"]


def command(
    module: Sequence[str],
    nodes: int,
    gpus: int,
    threads: int,
    environment: Mapping[str, str],
    ask: Callable[..., str] = ask,
) -> list[str]:
    """The command that starts `module` (its name and arguments). `gpus`: of each node; 0 is one process without a GPU."""
    processes = max(1, gpus)
    if nodes == 1:
        several = [*TORCHRUN, "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
        return [sys.executable, *several, "-m", *module]
    if "SLURM_JOB_ID" not in environment:
        raise UserError(
            f"machine.nodes is {nodes}, but this is no Slurm job: use snakemake --workflow-profile profiles/slurm, or set machine.nodes to 1"
        )
    torchrun = [
        *TORCHRUN,
        f"--nnodes={nodes}",
        f"--nproc-per-node={processes}",
        *rendezvous(environment["SLURM_JOB_ID"], ask),
    ]
    step = [f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={threads}"]
    step += [f"--gres=gpu:{gpus}"] if gpus else []
    return ["srun", *step, "--kill-on-bad-exit=1", sys.executable, *torchrun, "-m", *module]


def end_with_launcher() -> None:
    """To be called in a process of several: it ends when torchrun is gone, as by a kill of it alone.

    Without torchrun the processes would wait for one another, for ever or half an hour long, and nobody would hear of
    their end. SIGTERM comes first, on which a training saves its state.
    """
    launcher = int(os.environ.get(LAUNCHER) or os.getppid())
    threading.Thread(target=_end_with, args=(launcher,), daemon=True).start()


def _end_with(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)  # whoever waits in a library does not hear of signals
    os._exit(128 + signal.SIGTERM)


def main() -> None:
    parser = console.parser("ag3d.core.launch", __doc__)
    parser.add_argument("--nodes", type=int, default=1, help="computers")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs of each; 0: one process without")
    parser.add_argument("--threads", type=int, default=1, help="cores of each, for srun")
    parser.add_argument("module", nargs=argparse.REMAINDER, help="module to start, and its arguments")
    args = parser.parse_args()
    if not args.module or args.module[0].startswith("-"):
        parser.error("name the module to start, after all options")
    line = command(args.module, args.nodes, args.gpus, args.threads, os.environ)
    if args.nodes == 1:
        os.environ[LAUNCHER] = str(os.getpid())
    # The launcher becomes what it starts: signals of Slurm, of Snakemake and of a terminal reach it directly.
    os.execvp(line[0], line)


if __name__ == "__main__":
    console.run(main)

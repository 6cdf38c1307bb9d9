"""Trainings by several processes, started by torchrun as the workflow does."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from support import ROOT
from support.training_command import environment, wait_for

from ag3d.model.training import training_state

pytestmark = pytest.mark.slow
STEPS = 3
LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")

OURS = (sys.executable, "-m", "ag3d.core.launch", "--gpus", "2")


def train_alone_and_together(training_command, device: str):
    # With chunks of two, one process and two do the same work, and even noise and jitter agree.
    machine = {"device": device, "precision": "float32"}
    one = training_command(f"one {device}", training={"batch_size": 4}, machine={**machine, "micro_batch": 2})
    two = training_command(f"two {device}", training={"batch_size": 4}, machine=machine, launcher=LAUNCHER)
    for command in (one, two):
        done = command.run(STEPS)
        assert done.returncode == 0, done.stderr
    return one, two


def test_two_processes_train_the_same_weights_as_one(training_command):
    one, two = train_alone_and_together(training_command, "cpu")
    alone, together = one.weights(STEPS), two.weights(STEPS)
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-3, atol=1e-4 * max(1.0, float(value.abs().max())))
    for rows in zip(one.rows(), two.rows(), strict=True):
        assert rows[0] == {name: pytest.approx(value, rel=1e-3, abs=1e-5) for name, value in rows[1].items()}


@pytest.mark.slow
def test_a_state_saved_between_a_rare_loss_and_the_tick(training_command):
    """R1 comes in the first of the three steps of a tick, and a state, which gathers the sums in one process, after every step."""
    settings = {
        "training": {"batch_size": 4, "d_reg_interval": 3, "density_reg_every": 3},
        "machine": {"log_every_images": 12},
    }
    one, two = training_command("one", **settings), training_command("two", **settings, launcher=LAUNCHER)
    for steps in (2, 7):  # the second start goes on from a state between the two
        for command in (one, two):
            done = command.run(steps)
            assert done.returncode == 0, done.stderr
    assert [row["images"] for row in two.rows()] == [row["images"] for row in one.rows()] == [8, 12, 24, 28]
    assert [sorted(row) for row in two.rows()] == [sorted(row) for row in one.rows()]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_two_gpus_train_the_same_weights_as_one(training_command):
    """Through NCCL. Sums are in another order on a GPU, and Adam makes a whole step of a gradient that is nearly zero."""
    one, two = train_alone_and_together(training_command, "cuda")
    alone, together = one.weights(STEPS), two.weights(STEPS)
    assert alone.keys() == together.keys()
    for part in ("generator/", "generator_ema/", "discriminator/"):
        mine = torch.cat([value.flatten() for name, value in alone.items() if name.startswith(part)])
        theirs = torch.cat([together[name].flatten() for name in alone if name.startswith(part)])
        assert (mine - theirs).norm() < 1e-2 * mine.norm(), part
    for rows in zip(one.rows(), two.rows(), strict=True):
        assert rows[0] == {name: pytest.approx(value, rel=0.05, abs=0.02) for name, value in rows[1].items()}


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_fails_ends_all_with_its_traceback(training_command, rank):
    launcher = (*LAUNCHER[:-1], str(ROOT / "tests/support/failing_rank.py"))
    command = training_command(f"failing {rank}", training={"batch_size": 4}, launcher=launcher)
    line = [part for part in command.line(1000) if part != "ag3d.model.training"]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**environment(), "FAIL": str(rank)}
    )
    wait_for(lambda: command.states() and int(command.states()[-1].name) == 8, process)
    started = time.monotonic()
    output = process.communicate(timeout=60)[0]
    assert time.monotonic() - started < 40
    assert process.returncode != 0
    assert "RuntimeError: this process fails on purpose" in output
    assert 'failing_rank.py", line' in output
    assert f"rank      : {rank} (local_rank: {rank})" in output.split("Root Cause")[1]
    assert training_state.read_state(command.states()[-1]).images == 8


@pytest.mark.slow
def test_sigterm_to_the_launcher_saves(training_command):
    command = training_command(
        "launched", training={"batch_size": 4}, machine={"checkpoint_minutes": 60.0}, launcher=LAUNCHER
    )
    process = command.start(1000)
    wait_for((command.folder / "train/previews/reals.png").exists, process)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert "run the same command again to go on" in output
    assert training_state.read_state(command.states()[-1]).images > 0


@pytest.mark.parametrize("moment", ["they meet", "they train"])
def test_processes_end_with_their_launcher(training_command, moment):
    """kill -9 of torchrun alone: by themselves, processes that have not met yet would wait for half an hour."""
    command = training_command(f"orphans, {moment}", training={"batch_size": 4}, launcher=OURS)
    process = command.start(1000)
    launcher = psutil.Process(process.pid)
    wait_for(lambda: command.states() if moment == "they train" else len(launcher.children()) == 2, process)
    orphans = launcher.children()
    process.kill()
    assert psutil.wait_procs(orphans, timeout=60)[1] == []
    if moment == "they train":
        assert "run the same command again to go on" in process.communicate()[0]
        assert training_state.read_state(command.states()[-1]).images > 0


def test_more_processes_than_images_are_refused(training_command):
    done = training_command("crowd", training={"batch_size": 1}, launcher=LAUNCHER).run(STEPS)
    assert done.returncode != 0
    assert "training.batch_size is 1, too few for 2 processes" in done.stderr

"""Trainings that are killed, stopped, damaged or short of disk, started as a user starts them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from support.training_command import Command, environment, wait_for

from ag3d.model.training import training_state

pytestmark = pytest.mark.slow
STEPS = 8


@pytest.fixture(scope="module")
def straight(training_command) -> Command:
    """A training without any interruption."""
    command = training_command("straight")
    done = command.run(STEPS)
    assert done.returncode == 0, done.stderr
    return command


def assert_same(command: Command, straight: Command) -> None:
    """The same weights, optimisers, averages and curves, bit for bit."""
    own, other = command.weights(STEPS), straight.weights(STEPS)
    assert own.keys() == other.keys()
    different = [name for name, value in other.items() if not torch.equal(value, own[name])]
    assert not different, different[:5]
    values = [json.loads((c.milestone(STEPS) / "state.json").read_text())["values"] for c in (command, straight)]
    assert all(value.pop("seconds") > 0 for value in values)  # how long it took is each run's own
    assert values[0] == values[1]
    assert command.rows() == straight.rows()


def test_the_straight_training_trains(straight):
    weights = straight.weights(STEPS)
    moments = [value for name, value in weights.items() if name.endswith("exp_avg_sq")]
    assert len(moments) > 50
    assert all(value.isfinite().all() for value in weights.values())
    assert [row["images"] for row in straight.rows()] == [4, 8, 12, 16]
    assert len(straight.states()) == 2
    assert (straight.milestone(STEPS) / "checkpoint.json").exists()


def test_killed_training_goes_on_bit_for_bit(training_command, straight):
    command = training_command("killed")
    process = command.start(STEPS)
    wait_for(lambda: any(int(path.name) >= 6 for path in command.states()), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not command.milestone(STEPS).exists()
    # What a kill in the middle of writing leaves behind.
    (command.folder / "train/state/.0123abcd.part").mkdir()
    with (command.folder / "train/metrics.jsonl").open("a") as handle:
        handle.write('{"images": 1')
    again = command.run(STEPS)
    assert again.returncode == 0, again.stderr
    assert "going on from" in again.stderr
    assert "taking over from a trainer that ended without a goodbye" in again.stderr
    assert_same(command, straight)


def test_sigterm_saves_at_once_and_the_training_goes_on(training_command):
    command = training_command("stopped", machine={"checkpoint_minutes": 60.0})
    process = command.start(STEPS * 100)
    wait_for((command.folder / "train/previews/reals.png").exists, process)
    before = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output = process.communicate()[0]
    assert time.monotonic() - before < 30
    assert process.returncode == 128 + signal.SIGTERM
    assert "run the same command again to go on" in output
    reached = training_state.read_state(command.states()[-1]).images
    again = command.run(reached // 2 + 1)
    assert again.returncode == 0, again.stderr
    assert f"going on from {reached} images" in again.stderr
    assert training_state.read_state(command.milestone(reached // 2 + 1)).images == reached + 2


def test_a_damaged_newest_state_falls_back(training_command, straight):
    command = training_command("damaged")
    shutil.copytree(straight.folder, command.folder)
    shutil.rmtree(command.milestone(STEPS))
    before, newest = command.states()
    data = bytearray((newest / training_state.TENSORS).read_bytes())
    data[len(data) // 2] ^= 1
    (newest / training_state.TENSORS).write_bytes(data)
    again = command.run(STEPS)
    assert again.returncode == 0, again.stderr
    assert f"{newest / training_state.TENSORS} is damaged" in again.stderr
    assert f"going on from {int(before.name)} images" in again.stderr
    assert_same(command, straight)


def test_more_images_train_the_new_part_only(training_command, straight):
    command = training_command("extended")
    assert command.run(STEPS // 2).returncode == 0
    shutil.rmtree(command.folder / "train/state")  # the milestone itself is enough to go on from
    again = command.run(STEPS)
    assert again.returncode == 0, again.stderr
    assert f"going on from {STEPS} images" in again.stderr
    assert_same(command, straight)


@pytest.mark.slow
def test_a_full_disk_stops_with_the_older_states_whole(training_command, straight, tmp_path):
    if subprocess.run(["unshare", "-rm", "true"]).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    size = sum(path.stat().st_size for path in straight.states()[-1].iterdir())
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    command = training_command("", folder=disk)
    script = f"""
        mount -t tmpfs -o size={int(2.6 * size)} none {disk}
        "$@"; echo "status $?" >&2
        cp -r {disk}/train {kept}
        mount -o remount,size={100 * size} {disk}
        "$@"; echo "status $?" >&2
        cp -r {disk}/ckpt {kept}/ckpt; cp {disk}/train/metrics.jsonl {kept}/metrics.jsonl
    """
    line = ["unshare", "-rm", "sh", "-c", script, "sh", *command.line(STEPS)]
    done = subprocess.run(line, capture_output=True, text=True, env=environment())
    first, second = done.stderr.split("status 2", 1)
    assert "no space left while writing" in first
    assert "the states saved before are whole" in first
    assert "Traceback" not in first
    states = sorted((kept / "state").iterdir())
    assert len(states) == 2
    assert [training_state.read_state(path).images for path in states] == [2, 4]
    assert "status 0" in second, second
    assert "going on from 4 images" in second
    found = Command(tmp_path / "found", [], Path())
    shutil.copytree(kept / "ckpt", found.folder / "ckpt")
    (found.folder / "train").mkdir()
    shutil.copy(kept / "metrics.jsonl", found.folder / "train")
    assert_same(found, straight)


def test_an_index_of_other_data_is_told(training_command, tmp_path):
    """A shard that was replaced after the data set was counted."""
    (tmp_path / "index.json").write_text(json.dumps({"content": "of another data set"}))
    command = training_command("other-index")
    told = command.run(2, "--index", str(tmp_path / "index.json"))
    assert told.returncode == 2
    assert "names another content" in told.stderr
    assert not command.milestone(2).exists()

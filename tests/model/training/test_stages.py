"""A training whose network grows, as one command and as the workflow's chain of milestones."""

from __future__ import annotations

import signal
import subprocess

import pytest
import torch
from safetensors.torch import load_file
from support.training_command import environment, wait_for

from ag3d.core.files import read_json
from ag3d.model.training import training_state

pytestmark = pytest.mark.slow
STEPS = 7
BOUNDARY = 4
SMALL = {"image_resolution": 16, "face_fraction": 2, "use_face_discriminator": False}
STAGE = {"from_kimg": BOUNDARY * 2 / 1000, "image_resolution": 32, "use_face_discriminator": True, "normal_weight": 0.5}


@pytest.fixture(scope="module")
def staged(training_command):
    """Both stages in one command."""
    command = training_command("staged", network=SMALL, training={"stages": [STAGE]})
    done = command.run(STEPS)
    assert done.returncode == 0, done.stderr
    return command, done.stderr


def assert_same(command, other) -> None:
    own, expected = command.weights(STEPS), other.weights(STEPS)
    assert own.keys() == expected.keys()
    assert not [name for name, value in expected.items() if not torch.equal(value, own[name])]


def without_stage(rows):
    return [{name: value for name, value in row.items() if name != "stage"} for row in rows]


def test_the_larger_network_takes_over_what_fits_and_tells_the_rest(staged):
    command, log = staged
    before, after = (command.folder / "ckpt/000000.008", command.milestone(STEPS))
    assert read_json(before / "checkpoint.json")["network"]["image_resolution"] == 16
    assert read_json(after / "checkpoint.json")["network"]["image_resolution"] == 32
    assert read_json(after / "checkpoint.json")["training"]["normal_weight"] == 0.5
    assert training_state.read_state(before).images == BOUNDARY * 2
    assert f"stage 1 begins at {BOUNDARY * 2} images" in log
    assert "superresolution.block1.conv0.noise_const (32×32 here, 16×16 there)" in log
    assert "discriminator: these start anew, for they were not there: D_face_image, D_face_normal, D_image.b32" in log
    assert "left behind, for they are not here: D_image.b16.fromrgb" in log
    weights = [load_file(folder / "generator.safetensors")["decoder.net.0.weight"] for folder in (before, after)]
    distance = (weights[1] - weights[0]).abs().mean() / weights[0].abs().mean()
    assert 0 < distance < 0.2  # it trained on, from there
    assert [row["stage"] for row in command.rows()] == [0, 0, 1, 1]
    assert [row["images"] for row in command.rows()] == [4, 8, 12, 14]


def test_moments_are_taken_over_too(staged):
    command = staged[0]
    steps = {name: int(value) for name, value in command.weights(STEPS).items() if name.endswith("|step")}
    both = STEPS - BOUNDARY
    assert steps["adam_d/D_image.b16.conv0.weight|step"] > steps["adam_d/D_image.b32.conv0.weight|step"] >= both


def test_a_chain_of_milestones_gives_the_same(training_command, staged):
    first = training_command("chain", network=SMALL)  # the first milestone knows no later stages
    line = first.line(BOUNDARY)
    line[line.index("--output") + 1] = str(first.folder / "ckpt/000000.008")
    assert subprocess.run(line, capture_output=True, env=environment()).returncode == 0
    second = training_command("chain", network=SMALL, training={"stages": [STAGE]})
    written = (first.folder / "ckpt/000000.008/checkpoint.json").stat().st_mtime_ns
    done = second.run(STEPS)
    assert done.returncode == 0, done.stderr
    assert "another training" not in done.stderr
    assert (first.folder / "ckpt/000000.008/checkpoint.json").stat().st_mtime_ns == written
    assert_same(second, staged[0])
    assert without_stage(second.rows()) == without_stage(staged[0].rows())


def test_killed_in_the_second_stage_it_goes_on_bit_for_bit(training_command, staged):
    command = training_command("killed", network=SMALL, training={"stages": [STAGE]})
    process = command.start(STEPS)
    wait_for(lambda: any(int(path.name) > BOUNDARY * 2 for path in command.states()), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = command.run(STEPS)
    assert again.returncode == 0, again.stderr
    assert_same(command, staged[0])
    assert command.rows() == staged[0].rows()

"""Models of PaddleSeg's run in their own environment: the talk with it, and, where it is installed, a real model."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from support import ROOT

from ag3d.config.data import PaddleMatting
from ag3d.core.errors import UserError
from ag3d.preprocessing.matting import paddle_worker
from ag3d.preprocessing.matting.paddleseg import PaddleBackend, paddle_files
from ag3d.preprocessing.people.rotated_box import RotatedBox

ENVIRONMENT = ROOT / ".venv-paddleseg/bin/python"
STAND_IN = """
class Config:
    def __init__(self, model, params): print("noise on standard output")
    def disable_gpu(self): pass
    def disable_mkldnn(self): pass
    def set_cpu_math_library_num_threads(self, number): pass
class Handle:
    value = None
    def reshape(self, shape): pass
    def copy_from_cpu(self, value): Handle.value = value
    def copy_to_cpu(self): return Handle.value[:, :1] * 0.5 + 0.5  # alpha: the picture's red
class Predictor:
    def get_input_names(self): return ["x"]
    def get_output_names(self): return ["y"]
    def get_input_handle(self, name): return Handle()
    def get_output_handle(self, name): return Handle()
    def run(self): pass
def create_predictor(config): return Predictor()
"""


def model(folder: Path, transforms: list[dict], **names: str) -> Path:
    folder.mkdir(exist_ok=True)
    names = {"model": "model.json", "params": "model.pdiparams", **names}
    (folder / "deploy.yaml").write_text(yaml.safe_dump({"Deploy": {**names, "transforms": transforms}}))
    return folder


@pytest.fixture
def stand_in(tmp_path: Path) -> str:
    """A Python whose `paddle` gives the red channel back."""
    (tmp_path / "paddle").mkdir()
    (tmp_path / "paddle" / "__init__.py").write_text("")
    (tmp_path / "paddle" / "inference.py").write_text(STAND_IN)
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)


def photograph() -> np.ndarray:
    image = np.full((300, 200, 3), (0, 90, 90), np.uint8)
    cv2.ellipse(image, (100, 150), (40, 110), 0, 0, 360, (255, 20, 20), -1)
    return image


def test_the_matte_lies_on_the_person(tmp_path: Path, stand_in: str) -> None:
    folder = model(tmp_path / "model", [{"type": "Resize", "target_size": [128, 96]}, {"type": "Normalize"}])
    cut = PaddleBackend(PaddleMatting(str(folder), stand_in))
    rgb = photograph()
    for angle in (0.0, 0.2):
        alpha = cut(rgb, RotatedBox(100, 150, 280, angle))
        true = rgb[..., 0] > 127
        assert alpha.shape == true.shape
        assert ((alpha > 127) & true).sum() / ((alpha > 127) | true).sum() > 0.96
    cut.close()


def test_what_fails_there_is_told_here(tmp_path: Path, stand_in: str) -> None:
    folder = model(tmp_path / "model", [{"type": "Spin"}])
    cut = PaddleBackend(PaddleMatting(str(folder), stand_in))
    with pytest.raises(UserError, match="transform 'Spin'"):
        cut(photograph(), RotatedBox(100, 150, 280))
    with pytest.raises(UserError, match="No module named 'paddle'"):
        PaddleBackend(PaddleMatting(str(folder), sys.executable))
    with pytest.raises(UserError, match=r"deploy\.yaml"):
        paddle_files(PaddleMatting(str(tmp_path)))
    with pytest.raises(UserError, match="make paddleseg"):
        paddle_files(PaddleMatting(str(folder), str(tmp_path / "nowhere")))


def test_the_steps_of_deploy_yaml() -> None:
    picture = np.full((90, 60, 3), 255, np.uint8)

    def size(*steps: dict) -> tuple[int, ...]:
        return paddle_worker.prepare(picture, list(steps)).shape[2:]

    assert size({"type": "LoadImages"}) == (90, 60)
    assert size({"type": "Resize", "target_size": [192, 160]}) == (160, 192)
    assert size({"type": "ResizeByShort", "short_size": 120}, {"type": "ResizeToIntMult", "mult_int": 32}) == (160, 96)
    assert size({"type": "ResizeByLong", "long_size": 45}) == (45, 30)
    assert size({"type": "LimitLong", "max_long": 45}) == (45, 30)
    assert size({"type": "LimitShort", "min_short": 120}) == (180, 120)
    white = paddle_worker.prepare(picture, [{"type": "Normalize", "mean": [0.5] * 3, "std": [0.25] * 3}])
    assert (white.dtype, float(white.max())) == (np.float32, 2.0)


@pytest.mark.skipif(not ENVIRONMENT.exists(), reason="PaddleSeg's environment is not installed: make paddleseg")
def test_a_model_of_paddleseg(tmp_path: Path) -> None:
    """PP-HumanSeg-Lite with random weights, exported and run in PaddleSeg's own environment."""
    steps = [{"type": "Resize", "target_size": [96, 96]}, {"type": "Normalize"}]
    np.save(tmp_path / "input.npy", paddle_worker.prepare(photograph(), steps))
    code = f"""
        import numpy, paddle
        from paddleseg.models import PPHumanSegLite
        paddle.seed(0)
        network = PPHumanSegLite(num_classes=2)
        for weights in network.parameters():
            weights.set_value(weights + 0.2 * paddle.randn(weights.shape))
        network.eval()
        scores = network(paddle.to_tensor(numpy.load(r"{tmp_path}/input.npy")))[0]
        numpy.save(r"{tmp_path}/expected.npy", paddle.nn.functional.softmax(scores, axis=1)[0, 1].numpy())
        x = paddle.static.InputSpec([None, 3, 96, 96], "float32")
        paddle.jit.save(network, r"{tmp_path}/model/model", input_spec=[x])
    """
    answer = subprocess.run(
        [str(ENVIRONMENT), "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=tmp_path
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    name = "model.json" if (tmp_path / "model/model.json").exists() else "model.pdmodel"
    folder = model(tmp_path / "model", steps, model=name)
    cut = PaddleBackend(PaddleMatting(str(folder), str(ENVIRONMENT)))
    share = cut.ask(photograph())
    assert share.std() > 1e-3
    np.testing.assert_allclose(share, np.load(tmp_path / "expected.npy"), atol=1e-3)
    np.testing.assert_array_equal(share, cut.ask(photograph()))
    assert cut(photograph(), RotatedBox(100, 150, 280)).shape == (300, 200)
    cut.close()

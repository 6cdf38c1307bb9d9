"""Networks of the user's own: pictures get into them as the settings say, and what does not fit is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from support.onnx_files import brightness, colours, save

from ag3d.config.data import OnnxInput
from ag3d.core.errors import UserError
from ag3d.preprocessing.onnx_model import OnnxNetwork

SAME = np.eye(3).tolist()


def picture(height: int = 8, width: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_range_mean_std_colour_order_and_layout(tmp_path: Path, layout: str) -> None:
    shape = [1, 3, 8, 8] if layout == "nchw" else [1, 8, 8, 3]
    path = save(tmp_path / "same.onnx", [helper.make_node("Identity", ["picture"], ["out"])], shape)
    settings = OnnxInput(str(path), layout, colours="bgr", range=[-1, 1], mean=[0.1, 0.2, 0.3], std=[2.0])
    out = OnnxNetwork(settings, "key")(picture())
    expected = (picture()[..., ::-1] / 127.5 - 1 - np.array([0.1, 0.2, 0.3])) / 2
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_a_network_of_torch_gives_what_torch_gives(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 3, padding=1), torch.nn.Sigmoid()
    )
    first, second = network[0], network[2]
    constants = {
        f"{k}{name}": p.detach().numpy() for k, c in enumerate((first, second)) for name, p in c.named_parameters()
    }
    nodes = [
        helper.make_node("Conv", ["picture", "0weight", "0bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "1weight", "1bias"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c"], ["out"]),
    ]
    path = save(tmp_path / "net.onnx", nodes, ["batch", 3, "height", "width"], constants)
    out = OnnxNetwork(OnnxInput(str(path), size=12), "key")(picture(12, 12))
    with torch.no_grad():
        expected = network(torch.from_numpy(picture(12, 12)).permute(2, 0, 1)[None] / 255)
    np.testing.assert_allclose(out[..., 0], expected[0, 0].numpy(), atol=1e-6)


def test_inputs_that_are_not_square_and_half_precision(tmp_path: Path) -> None:
    path = save(
        tmp_path / "half.onnx",
        [helper.make_node("Identity", ["picture"], ["out"])],
        [1, 3, 6, 10],
        kind=TensorProto.FLOAT16,
    )
    network = OnnxNetwork(OnnxInput(str(path)), "key")
    assert (network.height, network.width) == (6, 10)
    np.testing.assert_allclose(network(picture(6, 10)), picture(6, 10) / 255, atol=1e-3)


def test_outputs_by_name_and_of_several_shapes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["picture"], ["mean"]),
        helper.make_node("ReduceMean", ["picture"], ["flat"], axes=[0, 1], keepdims=0),
    ]
    path = save(tmp_path / "two.onnx", nodes, [1, 3, 8, 8], outputs=("mean", "flat"))
    assert OnnxNetwork(OnnxInput(str(path), output="flat"), "key")(picture()).shape == (8, 8, 1)
    with pytest.raises(
        UserError, match=r"output 'mean' is \[1, 3, 1, 1\], not a picture; name another with 'key.output'"
    ):
        OnnxNetwork(OnnxInput(str(path)), "key")(picture())
    with pytest.raises(UserError, match=r"no output 'alpha' \('key.output'\); it has: mean, flat"):
        OnnxNetwork(OnnxInput(str(path), output="alpha"), "key")


def refused(words: str, **settings) -> None:
    with pytest.raises(UserError, match=words):
        OnnxNetwork(OnnxInput(**settings), "matting.onnx")


def test_files_and_settings_that_do_not_fit_are_told_by_their_key(tmp_path: Path) -> None:
    refused("'matting.onnx.file' is missing")
    refused(r"nowhere.onnx does not exist; put the network there, or correct 'matting.onnx.file'", file="nowhere.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    refused("is not an ONNX network", file=str(tmp_path / "text.onnx"))
    last = str(brightness(tmp_path / "last.onnx", [1, 8, 8, 3], 3))
    refused(r"in layout nchw; that is nhwc: set 'matting.onnx.layout'", file=last)
    open_ = str(brightness(tmp_path / "open.onnx", [1, 3, "h", "w"], 1))
    refused("takes pictures of any size; say with 'matting.onnx.size'", file=open_)
    fixed = str(colours(tmp_path / "fixed.onnx", [1, 3, 8, 8], SAME))
    refused("not 'matting.onnx.size' 16", file=fixed, size=16)
    refused("'matting.onnx.mean' is .*; 1 or 3 numbers", file=fixed, mean=[1.0, 2.0])
    refused("'matting.onnx.range' is .*; 2 numbers", file=fixed, range=[1.0])
    refused("std not 0", file=fixed, std=[0.0])
    refused("no input 'image'", file=fixed, input="image")
    six = str(brightness(tmp_path / "six.onnx", [1, 6, 8, 8], 1))
    refused("in layout nchw; 3 channels are put into it", file=six)
    nodes = [helper.make_node("Add", ["picture", "other"], ["out"])]
    two = save(tmp_path / "two.onnx", nodes, [1, 3, 8, 8], inputs=("picture", "other"))
    refused(r"needs several inputs \(picture, other\)", file=str(two))


def test_values_that_are_not_finite_are_told(tmp_path: Path) -> None:
    path = save(tmp_path / "log.onnx", [helper.make_node("Log", ["picture"], ["out"])], [1, 3, 8, 8])
    with pytest.raises(ValueError, match="not finite"):
        OnnxNetwork(OnnxInput(str(path), range=[-1, 1]), "key")(np.zeros((8, 8, 3), np.uint8))

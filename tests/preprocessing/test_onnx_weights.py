"""Weights outside an .onnx file are found, for a stage that depends on them."""

from __future__ import annotations

import numpy as np
import pytest

from ag3d.core.errors import UserError
from ag3d.preprocessing.onnx_weights import external_weights

onnx = pytest.importorskip("onnx")


def save(path, **external) -> None:
    values = onnx.numpy_helper.from_array(np.arange(600, dtype=np.float32), "w")
    constant = onnx.numpy_helper.from_array(np.arange(600, dtype=np.float32), "c")
    node = onnx.helper.make_node("Constant", [], ["c"], value=constant)
    add = onnx.helper.make_node("Add", ["w", "c"], ["y"])
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [600])
    model = onnx.helper.make_model(onnx.helper.make_graph([node, add], "g", [], [output], [values]))
    onnx.save_model(model, str(path), **external)


def test_weights_inside_are_no_files(tmp_path):
    save(tmp_path / "a.onnx")
    assert external_weights(tmp_path / "a.onnx") == []
    (tmp_path / "b.safetensors").write_bytes(b"x")
    assert external_weights(tmp_path / "b.safetensors") == []


@pytest.mark.parametrize("attributes", [False, True])
def test_weights_beside_are_found(tmp_path, attributes):
    outside = {
        "save_as_external_data": True,
        "location": "all.data",
        "size_threshold": 0,
        "convert_attribute": attributes,
    }
    save(tmp_path / "a.onnx", **outside)
    assert external_weights(tmp_path / "a.onnx") == [tmp_path / "all.data"]


def test_files_elsewhere_and_damage(tmp_path):
    (tmp_path / "model").mkdir()
    save(tmp_path / "model/a.onnx", save_as_external_data=True, location="all.data", size_threshold=0)
    data = (tmp_path / "model/a.onnx").read_bytes()
    (tmp_path / "up").write_bytes(b"x")
    (tmp_path / "model/b.onnx").write_bytes(data.replace(b"all.data", b".././/up"))
    assert external_weights(tmp_path / "model/b.onnx") == []
    (tmp_path / "model/c.onnx").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"c\.onnx is not a whole ONNX file"):
        external_weights(tmp_path / "model/c.onnx")

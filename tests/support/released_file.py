"""Files laid out as AG3D's released checkpoints, made from our own networks.

Classes and functions that such files name exist only while a file is written, under their names in sys.modules.
"""

from __future__ import annotations

import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from ag3d.config import Network
from ag3d.model.body.body import Body
from ag3d.model.generator import Generator
from ag3d.model.networks.discriminator import Discriminators

SIZES = {
    **{"image_resolution": 32, "plane_resolution": 16, "plane_channels": 4, "z_dim": 8, "w_dim": 8},
    **{"channel_base": 128, "channel_max": 8, "face_fraction": 4, "sr_channels": 8, "decoder_hidden": 8},
    **{
        "depth_resolution": 8,
        "depth_resolution_importance": 8,
        "discriminator_mapping_layers": 1,
        "mbstd_group_size": 2,
    },
    "compatibility": "reference",
}
SOURCE = "import os\nos.system('touch canary')\nraise SystemExit('the source text was run')\n"
_HOOKS = ("_backward_hooks", "_forward_hooks", "_forward_pre_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks")
_FUNCTIONS = {
    "torch_utils.persistence": ["_reconstruct_persistent_obj"],
    "dill._dill": ["_create_function", "_create_code", "_create_cell", "_eval_repr"],
}
_CLASSES = {
    "training.triplane": ["OSGDecoder"],
    "training.volumetric_rendering.renderer": ["ImportanceRenderer"],
    "training.volumetric_rendering.ray_sampler": ["RaySampler"],
    "training.deformers.snarf_deformer": ["SNARFDeformer"],
    "training.deformers.fast_snarf.lib.model.deformer_torch": ["ForwardDeformer"],
    "training.deformers.smplx.body_models": ["SMPL"],
}


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple:
        return self.call


@contextmanager
def reference_modules() -> Iterator[dict[str, Any]]:
    """Empty functions and classes under the names that released files use: by their own name."""
    made: dict[str, Any] = {}
    modules: dict[str, types.ModuleType] = {}

    def put(module: str, name: str, thing: Any) -> None:
        thing.__module__, thing.__name__, thing.__qualname__ = module, name, name
        for part in range(module.count(".") + 1):  # packages, too
            package = module.rsplit(".", part)[0]
            modules.setdefault(package, types.ModuleType(package))
        setattr(modules[module], name, thing)
        made[name] = thing

    for module, names in _FUNCTIONS.items():
        for name in names:
            put(module, name, lambda *arguments: None)
    for module, names in _CLASSES.items():
        for name in names:
            put(module, name, type(name, (), {}))
    put("dnnlib.util", "EasyDict", type("EasyDict", (dict,), {}))
    with mock.patch.dict(sys.modules, modules):
        yield made


class _Writer:
    """Our modules as objects that pickle like the reference's."""

    def __init__(self, named: dict[str, Any]) -> None:
        self.named = named

    def plain(self, name: str, state: dict[str, Any]) -> Any:
        """An object of a class that is named, with its attributes."""
        thing = self.named[name]()
        vars(thing).update(state)
        return thing

    def persistent(self, name: str, state: dict[str, Any]) -> Any:
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": name, "state": state}
        return Calls(self.named["_reconstruct_persistent_obj"], self.named["EasyDict"](meta))

    def state(self, module: nn.Module, **more: Any) -> dict[str, Any]:
        parameters = OrderedDict((name, value) for name, value in module._parameters.items())
        buffers = OrderedDict(
            (name, value) for name, value in module._buffers.items() if name not in module._non_persistent_buffers_set
        )
        if hasattr(module, "noise_const") or hasattr(module, "down"):
            buffers["resample_filter"] = torch.ones(4, 4) / 16
        children = OrderedDict((name, self.module(child)) for name, child in module._modules.items() if child)
        hooks = {name: OrderedDict() for name in _HOOKS}
        return {
            "training": False,
            "_parameters": parameters,
            "_buffers": buffers,
            "_non_persistent_buffers_set": set(),
            **hooks,
            "_modules": children,
            **more,
        }

    def module(self, module: nn.Module) -> Any:
        kind = type(module)
        if kind.__module__.startswith("torch.nn"):
            thing = kind.__new__(kind)
            vars(thing).update(self.state(module))
            return thing
        if kind.__name__ == "Decoder":
            return self.plain("OSGDecoder", self.state(module, hidden_dim=64))
        return self.persistent(kind.__name__, self.state(module, _init_args=(), _init_kwargs={}))

    def closure(self) -> Any:
        """A function inside a function, as dill writes it."""
        code = Calls(
            self.named["_create_code"], 1, 0, 0, 1, 2, 67, b"d\x01S\x00", (None,), (), ("x",), "a.py", "f", 1, b""
        )
        cell = Calls(self.named["_create_cell"], np.float64(2))
        return Calls(
            self.named["_create_function"], code, {"getattr": getattr}, "f", None, (cell,), state={"__doc__": ""}
        )

    def deformer(self, body: dict[str, np.ndarray]) -> Any:
        tensors = {name: torch.from_numpy(body[name]) for name in ("v_template", "shapedirs", "J_regressor")}
        posedirs = body.get("posedirs", np.zeros((len(body["v_template"]), 3, 207), np.float32))
        tensors |= {
            "posedirs": torch.from_numpy(posedirs.reshape(-1, 207).T.copy()),
            "lbs_weights": torch.from_numpy(body["weights"]),
            "faces_tensor": torch.from_numpy(body["faces"]),
            "parents": torch.from_numpy(body["parents"]),
        }
        smpl = self.plain("SMPL", {"_parameters": {}, "_buffers": tensors, "_modules": {}, "faces": body["faces"]})
        forward = self.plain(
            "ForwardDeformer", {"init_bones": np.arange(11), "query": self.closure(), "device": torch.device("cpu")}
        )
        return self.plain("SNARFDeformer", {"body_model": smpl, "deformer": forward, "dtype": torch.float32})

    def generator(self, generator: Generator, body: dict[str, np.ndarray] | None, options: dict[str, Any]) -> Any:
        settings = generator.settings
        rendering = {
            **{
                "depth_resolution": settings.depth_resolution,
                "depth_resolution_importance": settings.depth_resolution_importance,
            },
            **{"ray_start": settings.ray_start, "ray_end": settings.ray_end, "box_warp": settings.box_warp},
            **{"c_gen_conditioning_zero": True, "is_sdf": True, "white_back": True, "decoder_lr_mul": 1},
        }
        rendering = self.named["EasyDict"]({**rendering, **options})
        state = self.state(generator)
        del state["_modules"]["deformer"], state["_modules"]["renderer"]
        renderer = self.state(generator.renderer, ray_marcher=None)
        if body is not None:
            renderer["deformer"] = self.deformer(body)
        state["_modules"] = OrderedDict(
            renderer=self.plain("ImportanceRenderer", renderer),
            ray_sampler=self.plain("RaySampler", self.state(nn.Module())),
            **state["_modules"],
        )
        state["_buffers"]["dataset_label_std"] = torch.ones(111)
        half = 4 if settings.conv_clamp else 0
        init = {"rendering_kwargs": dict(rendering), "sr_num_fp16_res": half, "num_fp16_res": 0, "img_channels": 3}
        neural = generator.neural_resolution
        state |= {"_init_kwargs": init, "rendering_kwargs": rendering, "neural_rendering_resolution": neural}
        return self.persistent("AG3DGenerator", state)

    def discriminators(self, discriminators: Discriminators, group: int) -> Any:
        init = {"epilogue_kwargs": {"mbstd_group_size": group}, "conv_clamp": 256}
        state = self.state(discriminators, _init_kwargs=self.named["EasyDict"](init))
        return self.persistent("AG3DDiscriminator", state)


def networks(body: Body, seed: int = 0, **settings: Any) -> tuple[Generator, Generator, Discriminators]:
    """A small averaged generator, generator and discriminators, with every tensor away from its initial value."""
    torch.manual_seed(seed)
    network = Network(**{**SIZES, **settings})
    made = Generator(network, body), Generator(network, body), Discriminators(network)
    for module in made:
        for value in module.state_dict().values():
            value += 0.1 * torch.randn_like(value)
        module.eval().requires_grad_(False)
        if isinstance(module, Generator):  # the body is to be seen
            module.decoder.layers[1].weight[0] *= 0.03
            module.decoder.layers[1].bias[0] = 0
            module.renderer.sigmoid_beta.fill_(0.02)
    return made


def write_released(
    path: Path,
    made: tuple[Generator, Generator, Discriminators],
    body: dict[str, np.ndarray] | None = None,
    parts: tuple[str, ...] = ("G", "D", "G_ema"),
    protocol: int = 4,
    options: dict[str, Any] | None = None,
    **more: Any,
) -> Path:
    """Write a file of the released layout. `options`: further rendering options; `more`: further content, or functions of the names that make it."""
    average, generator, discriminators = made
    with reference_modules() as named:
        writer = _Writer(named)
        content = {
            "G": writer.generator(generator, body, options or {}),
            "D": writer.discriminators(discriminators, generator.settings.mbstd_group_size),
            "G_ema": writer.generator(average, body, options or {}),
            "training_set_kwargs": named["EasyDict"](class_name="training.dataset.ImageFolderDataset", path="a.zip"),
            "progress": {"cur_nimg": 2_500_000, "cur_tick": 2500, "batch_idx": torch.LongTensor([78125])},
        }
        content = {name: value for name, value in content.items() if name not in {"G", "D", "G_ema"} - set(parts)}
        more = {name: value(named) if callable(value) else value for name, value in more.items()}
        path.write_bytes(pickle.dumps({**content, **more}, protocol))
    return path

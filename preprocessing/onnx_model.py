"""A picture through a network of the user's own, from an .onnx file; what does not fit is told by its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ag3d.config.data import OnnxInput
from ag3d.core.errors import UserError
from ag3d.preprocessing.photos.read_image import PhotoError, one_line

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxNetwork:
    """`network(picture)`: [H,W,channels] to [h,w,C], for networks with one picture as input.

    `key` is the settings' place in the configuration, for messages; `extra` channels follow the three of the picture.
    """

    def __init__(self, settings: OnnxInput, key: str, extra: int = 0, threads: int = 1, device: str = "cpu") -> None:
        """Raises UserError: no such file, no ONNX file, or an input that is not as `settings` say."""
        import onnxruntime

        self.settings, self.key, self.extra = settings, key, extra
        self.file = onnx_file(settings, key)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        wanted = ["CPUExecutionProvider"] if device == "cpu" else ["CUDAExecutionProvider", "CPUExecutionProvider"]
        providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
        try:
            self._session = onnxruntime.InferenceSession(str(self.file), options, providers=providers)
        except Exception as error:  # onnxruntime has an exception for each kind of fault
            raise UserError(
                f"{self.file} ('{key}.file') is not an ONNX network that runs here: {one_line(error)}"
            ) from error
        self._input = self._choose(self._session.get_inputs(), "input")
        self._output = self._choose(self._session.get_outputs(), "output").name
        self.height, self.width = self._size()
        self._range, self._mean, self._std = (self._numbers(name) for name in ("range", "mean", "std"))

    def __call__(self, picture: np.ndarray, extra: np.ndarray | None = None) -> np.ndarray:
        """`picture`: uint8 [height,width,3] RGB; `extra`: float32 [height,width,extra]. Returns float32 [h,w,C].

        Raises UserError where the network fails or gives no picture, PhotoError where its values are not finite.
        """
        low, high = self._range
        values = low + picture.astype(np.float32) * ((high - low) / 255)
        values = values[..., ::-1] if self.settings.colours == "bgr" else values
        values = (values - self._mean) / self._std
        if extra is not None:
            values = np.concatenate([values, extra], axis=2)
        values = values.transpose(2, 0, 1) if self.settings.layout == "nchw" else values
        tensor = np.ascontiguousarray(values[None], _TYPES[self._input.type])
        try:
            out = self._session.run([self._output], {self._input.name: tensor})[0]
        except Exception as error:
            raise UserError(f"{self.file} ('{self.key}.file') failed on its input: {one_line(error)}") from error
        return self._picture(np.asarray(out, np.float32))

    def _picture(self, out: np.ndarray) -> np.ndarray:
        """[1,C,h,w], [1,h,w,C], [1,h,w] or [h,w] to [h,w,C]."""
        shape = list(out.shape)
        out = out[0] if out.ndim in (3, 4) and len(out) == 1 else out
        if out.ndim == 3 and self.settings.layout == "nchw":
            out = out.transpose(1, 2, 0)
        out = out[..., None] if out.ndim == 2 else out
        if out.ndim != 3 or min(out.shape[:2]) < 2:
            raise UserError(
                f"{self.file}: the output '{self._output}' is {shape}, not a picture; name another with '{self.key}.output'"
            )
        if not np.isfinite(out).all():
            raise PhotoError("the network's output is not finite")
        return out

    def _choose(self, tensors: list[Any], what: str) -> Any:
        wanted, names = getattr(self.settings, what), [tensor.name for tensor in tensors]
        if not names:
            raise UserError(f"{self.file} has no {what}, or not a tensor; networks with one picture can be used")
        if wanted and wanted not in names:
            raise UserError(f"{self.file} has no {what} '{wanted}' ('{self.key}.{what}'); it has: {', '.join(names)}")
        if not wanted and len(names) > 1 and what == "input":
            raise UserError(
                f"{self.file} needs several inputs ({', '.join(names)}); networks with one picture can be used"
            )
        return tensors[names.index(wanted)] if wanted else tensors[0]

    def _size(self) -> tuple[int, int]:
        """Rows and columns of the input."""
        tensor, settings, channels = self._input, self.settings, 3 + self.extra
        if tensor.type not in _TYPES or len(tensor.shape) != 4:
            raise UserError(
                f"{self.file}: the input '{tensor.name}' is {tensor.type} {tensor.shape}; 4 dimensions of numbers needed"
            )
        axes = {"nchw": (1, 2, 3), "nhwc": (3, 1, 2)}
        depth, *sides = (tensor.shape[k] for k in axes[settings.layout])
        if isinstance(depth, int) and depth != channels:
            other = "nhwc" if settings.layout == "nchw" else "nchw"
            swapped = tensor.shape[axes[other][0]] == channels
            hint = f"that is {other}: set '{self.key}.layout'" if swapped else f"{channels} channels are put into it"
            raise UserError(
                f"{self.file}: the input '{tensor.name}' is {tensor.shape}, in layout {settings.layout}; {hint}"
            )
        fixed = [side for side in sides if isinstance(side, int)]
        if settings.size and any(side != settings.size for side in fixed):
            raise UserError(f"{self.file} takes {tensor.shape}, not '{self.key}.size' {settings.size}; leave that out")
        if len(fixed) < 2 and not settings.size:
            raise UserError(
                f"{self.file} takes pictures of any size; say with '{self.key}.size' at which one it works well"
            )
        height, width = (side if isinstance(side, int) else settings.size for side in sides)
        return height, width

    def _numbers(self, name: str) -> np.ndarray:
        values = np.array(getattr(self.settings, name), np.float32)
        allowed = (2,) if name == "range" else (1, 3)
        if len(values) not in allowed or (name == "std" and not values.all()):
            count = " or ".join(map(str, allowed))
            raise UserError(
                f"configuration: '{self.key}.{name}' is {values.tolist()}; {count} numbers are needed, std not 0"
            )
        return values


def onnx_file(settings: OnnxInput, key: str) -> Path:
    """The network's file. Raises UserError where the configuration names none, or one that is not there."""
    if not settings.file:
        raise UserError(f"configuration: '{key}.file' is missing; name the .onnx file of your network")
    path = Path(settings.file)
    if not path.is_file():
        raise UserError(f"{path} does not exist; put the network there, or correct '{key}.file'")
    return path

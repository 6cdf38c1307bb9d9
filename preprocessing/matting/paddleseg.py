"""Mattes from a model that PaddleSeg exported, run in PaddleSeg's own environment: it needs an older OpenCV and numpy."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import IO

import numpy as np

from ag3d.config.data import PaddleMatting
from ag3d.core.errors import UserError
from ag3d.preprocessing.matting.backends import cut_square
from ag3d.preprocessing.people.rotated_box import RotatedBox

WORKER = Path(__file__).with_name("paddle_worker.py")
MAX_SIDE = 1024  # pixels of the square that is handed over


def paddle_files(settings: PaddleMatting) -> list[Path]:
    """The model's files. Raises UserError where one, or the environment, is missing."""
    folder, python = Path(settings.model), Path(settings.python)
    if not settings.model or not (folder / "deploy.yaml").is_file():
        raise UserError(
            f"'matting.paddle.model' is '{settings.model}', which holds no deploy.yaml; name the folder of a model that "
            "PaddleSeg exported (PP-HumanSeg, PP-Matting, MODNet: docs/data.md)"
        )
    if not python.is_file():
        raise UserError(
            f"'matting.paddle.python': {python} does not exist; make PaddleSeg's environment: make paddleseg"
        )
    return sorted(path for path in folder.iterdir() if path.is_file())


class PaddleBackend:
    """`alpha(rgb, region)`: uint8 [H,W], the person's share of each pixel of a photograph."""

    def __init__(self, settings: PaddleMatting, threads: int = 1) -> None:
        """Starts the worker. Raises UserError where that fails."""
        self.files = paddle_files(settings)
        self.settings = settings
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115  closed with the worker
        self._worker = subprocess.Popen(
            [Path(settings.python).absolute(), "-u", WORKER, settings.model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": ""},
        )
        self._receive()

    def __call__(self, rgb: np.ndarray, region: RotatedBox) -> np.ndarray:
        side = int(np.clip(2 * region.reach, 64, MAX_SIDE))
        return cut_square(rgb, region, (side, side), self.person_share, self.settings.refine)

    def person_share(self, picture: np.ndarray) -> np.ndarray:
        """The person's share float32 [h,w] of `picture` (uint8 RGB)."""
        data = io.BytesIO()
        np.save(data, picture, allow_pickle=False)
        try:
            stream = _open(self._worker.stdin)
            stream.write(struct.pack("<q", len(data.getvalue())) + data.getvalue())
            stream.flush()
        except BrokenPipeError:
            pass  # its last words are read below
        return self._receive()

    def _receive(self) -> np.ndarray:
        stream = _open(self._worker.stdout)
        length = stream.read(8)
        if len(length) < 8:
            self._worker.wait()
            self._messages.seek(0)
            lines = self._messages.read().decode(errors="replace").strip().splitlines()
            raise UserError(
                f"PaddleSeg's environment ({self.settings.python}) failed on the model {self.settings.model}: "
                + (lines[-1] if lines else "it says nothing")
            )
        return np.load(io.BytesIO(stream.read(struct.unpack("<q", length)[0])), allow_pickle=False)

    def close(self) -> None:
        """End the worker."""
        _open(self._worker.stdin).close()
        self._worker.wait(timeout=60)
        _open(self._worker.stdout).close()
        self._messages.close()


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream

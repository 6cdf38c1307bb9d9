"""Normal maps of the aligned crops. Methods: `body`: the fitted body's normals, spread over the whole matte;
`network`: ours, from the crop and the body's normals; `onnx`: one of yours; `folder`: maps made elsewhere.

Writes a zip per shard with `<person_id>.png` (RGB = 127.5 (n + 1); x right, y up, z to the viewer; exactly white where the
alpha is below 0.3), and beside it a table: person_id, photo_id, path, status, reason, value of everybody aligned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ag3d.config.data import Normals
from ag3d.core import console
from ag3d.core.device import choose_device
from ag3d.core.shards import ShardReader, ShardWriter
from ag3d.model.body.body import Body
from ag3d.model.rendering.rasterizer import render_normals
from ag3d.preprocessing import schemas
from ag3d.preprocessing.normals.backends import FolderBackend, OnnxBackend, network_file
from ag3d.preprocessing.normals.inpainting import inpaint_normals
from ag3d.preprocessing.normals.unet import UNetBackend
from ag3d.preprocessing.stage import OK, Row, Verdict, parse, passed, person_of, read_verdicts, run_stage, stage_parser

BACKGROUND_ALPHA = 0.3  # AG3D's data loader treats less as background
# A crop (uint8 RGBA [H,W,4]), the body's normals [H,W,3] and where it is seen [H,W] to unit normals [H,W,3].
NormalEstimator = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def encode(normals: np.ndarray, person: np.ndarray) -> np.ndarray:
    """uint8 RGB of unit normals [H,W,3]; exactly white where not `person`, and never white on it."""
    image = np.rint(127.5 * (normals + 1)).clip(0, 255).astype(np.uint8)
    image[person & (image == 255).all(-1)] = 254
    image[~person] = 255
    return image


def body_backend(crop: np.ndarray, normals: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """The body's normals, spread over the whole matte. Raises ValueError where the two do not meet."""
    return inpaint_normals(normals, covered, on_person(crop))


def on_person(crop: np.ndarray) -> np.ndarray:
    """The pixels [H,W] of a crop (uint8 RGBA) that count as the person."""
    return crop[..., 3] >= BACKGROUND_ALPHA * 255


def body_normals(body: Body, label: Sequence[float] | np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals [side,side,3] of the body of a `label`, and where it is seen [side,side]."""
    vertices = body.from_label(torch.from_numpy(np.array(label, np.float32))[None].to(body.device)).vertices[0]
    normals, covered = render_normals(vertices, body.faces, side)
    return normals.cpu().numpy(), covered.cpu().numpy()


def normals_of_shard(
    people: pd.DataFrame,
    crops: ShardReader,
    body: Body,
    backend: NormalEstimator | FolderBackend,
    pictures: ShardWriter,
) -> Iterator[Row]:
    """Write the normal maps of the aligned `people` that are ok; a row for each."""
    ready = sorted(passed(people), key=lambda row: row["person_id"])
    for row in console.progress(ready, "normals", unit="crop"):
        person = row["person_id"]
        crop = crops.image(f"{person}.png")
        try:
            if isinstance(backend, FolderBackend):
                normals = backend.normals(person, len(crop))
            else:
                normals = backend(crop, *body_normals(body, row["label"], len(crop)))
            pictures.add_image(f"{person}.png", encode(normals, on_person(crop)))
            verdict = OK
        except ValueError as error:
            verdict = Verdict.rejected(str(error))
        yield person_of(row) | vars(verdict)


def choose_backend(
    settings: Normals, threads: int, device: str = "cpu"
) -> tuple[NormalEstimator | FolderBackend, list[Path]]:
    """Who estimates, and the files that they are made of. Raises UserError about these."""
    if settings.method == "folder":
        return FolderBackend(settings.folder), []
    file = network_file(settings)
    if file is None:
        return body_backend, []
    if settings.method == "onnx":
        return OnnxBackend(settings.onnx, threads, device), [file]
    torch.set_num_threads(threads)
    return UNetBackend(file, device), [file]


def main() -> None:
    paths = {
        "aligned": "aligned crops of the shard (.zip)",
        "body": "the body model (.npz or .pkl)",
        "output": "normal maps to write (.zip); their table lies beside them (.parquet)",
    }
    args, settings = parse(stage_parser("normals", __doc__, paths, networks=True), Normals)
    backend, files = choose_backend(settings, args.threads, str(choose_device(args.device, "--device")))
    people, crops = read_verdicts(args.aligned), ShardReader(args.aligned)
    process = partial(normals_of_shard, people, crops, Body.load(args.body), backend)
    with torch.no_grad():
        run_stage("normals", settings, [args.aligned, args.body, *files], args.output, schemas.NORMALS, process)

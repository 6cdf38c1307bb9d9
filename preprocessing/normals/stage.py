"""Normal maps of the aligned crops. Methods: `body`: the fitted body's normals, spread over the whole matte;
`network`: ours, from the crop and the body's normals; `onnx`: one of yours; `folder`: maps made elsewhere.

Writes a zip per shard: `<person_id>.png` (RGB = 127.5 (n + 1); x right, y up, z to the viewer; exactly white where the
alpha is below 0.3) and `status.json`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ag3d.config.data import Normals
from ag3d.config.settings import add_options, from_options, to_mapping
from ag3d.core import console, provenance
from ag3d.core.shards import ShardReader, ShardWriter, write_shard
from ag3d.model.body.body import Body
from ag3d.model.rendering.rasterizer import render_normals
from ag3d.preprocessing.normals.folder_backend import NormalFolder
from ag3d.preprocessing.normals.inpainting import extend
from ag3d.preprocessing.normals.onnx_backend import OnnxEstimate
from ag3d.preprocessing.normals.unet import NetworkEstimate
from ag3d.preprocessing.normals.weight_files import network_file

log = logging.getLogger(__name__)
BACKGROUND_ALPHA = 0.3  # AG3D's data loader treats less as background
# A crop (uint8 RGBA [H,W,4]), the body's normals [H,W,3] and where it is seen [H,W] to unit normals [H,W,3].
Estimate = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def encode(normals: np.ndarray, person: np.ndarray) -> np.ndarray:
    """uint8 RGB of unit normals [H,W,3]; exactly white where not `person`, and never white on it."""
    image = np.rint(127.5 * (normals + 1)).clip(0, 255).astype(np.uint8)
    image[person & (image == 255).all(-1)] = 254
    image[~person] = 255
    return image


def by_body(crop: np.ndarray, normals: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """The body's normals, spread over the whole matte. Raises ValueError where the two do not meet."""
    return extend(normals, covered, on_person(crop))


def on_person(crop: np.ndarray) -> np.ndarray:
    """The pixels [H,W] of a crop (uint8 RGBA) that count as the person."""
    return crop[..., 3] >= BACKGROUND_ALPHA * 255


def body_normals(body: Body, label: list[float], side: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals [side,side,3] of the body of a `label`, and where it is seen [side,side]."""
    vertices = body.from_label(torch.tensor([label], device=body.device)).vertices[0]
    normals, covered = render_normals(vertices, body.faces, side)
    return normals.cpu().numpy(), covered.cpu().numpy()


def normals_shard(
    aligned: ShardReader, body: Body, output: ShardWriter, estimate: Estimate | NormalFolder = by_body
) -> dict[str, dict[str, Any]]:
    """Write the normal map of every crop, and the status. Returns the status."""
    status: dict[str, dict[str, Any]] = {}
    labels = aligned.json("labels.json")
    for person in console.progress(sorted(labels), "normals", unit="crop"):
        crop = aligned.image(f"{person}.png")
        try:
            if isinstance(estimate, NormalFolder):
                found = estimate.of(person, len(crop))
            else:
                found = estimate(crop, *body_normals(body, labels[person], len(crop)))
            image = encode(found, on_person(crop))
        except ValueError as error:
            status[person] = {"status": "rejected", "reason": str(error), "value": None}
            continue
        output.add_image(f"{person}.png", image)
        status[person] = {"status": "ok", "reason": "", "value": None}
    output.add_json("status.json", status)
    return status


def choose(settings: Normals, threads: int) -> tuple[Estimate | NormalFolder, list[Path]]:
    """Who estimates, and the files that they are made of. Raises UserError about these."""
    if settings.method == "folder":
        return NormalFolder(settings.folder), []
    file = network_file(settings)
    if file is None:
        return by_body, []
    if settings.method == "onnx":
        return OnnxEstimate(settings.onnx, threads), [file]
    torch.set_num_threads(threads)
    return NetworkEstimate(file), [file]


def main() -> None:
    parser = console.parser("ag3d.preprocessing.normals", __doc__)
    parser.add_argument("--aligned", type=Path, required=True, help="aligned crops of the shard (.zip)")
    parser.add_argument("--body", type=Path, required=True, help="the body model (.npz or .pkl)")
    parser.add_argument("--output", type=Path, required=True, help="normal maps to write (.zip)")
    parser.add_argument("--threads", type=int, default=1, help="threads of a network (default: 1)")
    add_options(parser, Normals)
    args = parser.parse_args()
    settings = from_options(Normals, args)
    estimate, files = choose(settings, args.threads)
    record = provenance.record("normals", to_mapping(settings), [args.aligned, args.body, *files])
    body = Body.load(args.body)
    with torch.no_grad(), write_shard(args.output, record) as output:
        status = normals_shard(ShardReader(args.aligned), body, output, estimate)
    good = sum(entry["status"] == "ok" for entry in status.values())
    log.info("%d normal maps, %d rejected", good, len(status) - good)

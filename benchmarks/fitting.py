"""How many people a second the stage of the fits handles, from table and mattes to rows.

Poses the open body at random, draws mattes, adds the usual errors to the landmarks, and times the whole stage
(ag3d.preprocessing.fitting.fit_shard). Up to 64 bodies are drawn; further people are the same with other errors.
Writes benchmarks/results/fitting.json.
"""

from __future__ import annotations

import argparse
import math
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ag3d.config.data import Fitting
from ag3d.core import console, provenance
from ag3d.core.camera import project
from ag3d.core.device import choose_device
from ag3d.core.files import write_json, write_table
from ag3d.core.shards import ShardReader, encode_png, write_shard
from ag3d.model.body.body import Body
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.model.rendering.rasterizer import rasterize
from ag3d.preprocessing import schemas
from ag3d.preprocessing.fitting import pose_prior
from ag3d.preprocessing.fitting.landmark_model import calibration
from ag3d.preprocessing.fitting.objective import hip_centre
from ag3d.preprocessing.fitting.reduced_body import PointBody, reduce_body
from ag3d.preprocessing.fitting.stage import fit_shard
from ag3d.preprocessing.stage import to_table

RESULTS = Path(__file__).with_name("results") / "fitting.json"
WIDTH, HEIGHT, SCALE = 480, 640, 300.0  # of the photographs, and pixels per metre
CAMERA = torch.tensor([SCALE]), torch.tensor([[WIDTH / 2, 290.0]])
DEPTH_TO_FLAT = 3.5  # how much less exact landmarks are in depth than in the picture
DRAWN = 64  # bodies that are posed and drawn


def arguments() -> argparse.Namespace:
    parser = console.parser("fitting", __doc__)
    parser.add_argument("--body", type=Path, default=Path("results/body/body.npz"), help="the open body")
    parser.add_argument("--people", type=int, default=64, help="how many (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="people fitted at once (default: %(default)s)")
    parser.add_argument(
        "--samples", type=int, default=Fitting().uncertainty_samples, help="as fitting.uncertainty_samples"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def write_people(body: Body, number: int, mattes: Path) -> pd.DataFrame:
    """Mattes of `number` people, and their table as the stage `people` writes it."""
    random = torch.Generator().manual_seed(0)
    points, rows, status, drawn = reduce_body(body), [], [], []
    sigmas = calibration().landmark_std.clamp_max(0.05)[:, None] * torch.tensor([1.0, 1.0, DEPTH_TO_FLAT])
    with write_shard(mattes, {}) as shard:
        for k in range(number):
            if k < DRAWN:
                drawn.append(pose_and_draw(body, points, random))
            placed, picture = drawn[k % DRAWN]
            wrong = torch.randn(1, 33, 3, generator=random) * sigmas
            solid = placed - hip_centre(placed) + wrong
            pixels = project(placed, *CAMERA) + SCALE * wrong[..., :2]
            name = f"person-{k}"
            shard.add(f"{name}.png", picture)
            status.append({"person_id": name, "status": "ok"})
            rows.append(
                {
                    **{"person_id": name, "photo_id": name, "path": f"{name}.jpg", "width": WIDTH, "height": HEIGHT},
                    **{"landmarks_2d": pixels.flatten().tolist(), "landmarks_3d": solid.flatten().tolist()},
                    **{"visibility": [1.0] * 33, "status": "ok"},
                }
            )
    table = to_table(status, schemas.MATTES)
    write_table(mattes.with_suffix(".parquet"), table, {}, schemas.MATTES)
    return pd.DataFrame(rows)


def pose_and_draw(body: Body, points: PointBody, random: torch.Generator) -> tuple[Tensor, bytes]:
    """Somebody's landmarks [1,33,3] (metres), and their matte as PNG."""
    pose = pose_prior.USUAL + 0.25 * torch.randn(1, 69, generator=random) / (1 + pose_prior.STRENGTH)
    upright = axis_angle_to_matrix(torch.tensor([[math.pi, 0.0, 0.0]]))
    yaw = float(torch.rand(1, generator=random)) * 2 * math.pi
    orient = upright @ axis_angle_to_matrix(torch.tensor([[0.0, yaw, 0.0]]))
    betas = 0.7 * torch.randn(1, 10, generator=random)
    placed, _ = points(betas, orient, pose_prior.clamp(pose), 33)
    posed = body(betas, pose_prior.clamp(pose), torch.zeros(1, 3), torch.zeros(1, 3))
    pelvis = posed.joints[:, :1]
    vertices = (posed.vertices - pelvis) @ orient.mT + pelvis
    screen = torch.cat([project(vertices, *CAMERA)[0], vertices[0, :, 2:]], 1)
    mask = (rasterize(screen, body.faces, HEIGHT, WIDTH).face_index >= 0).numpy()
    return placed, encode_png(mask.astype(np.uint8) * 255)


def main() -> None:
    args = arguments()
    device = choose_device(args.device, "--device")
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        mattes = Path(temporary) / "mattes.zip"
        people = write_people(Body.load(args.body), args.people, mattes)
        with torch.enable_grad():
            body = Body.load(args.body, device=device)
            settings = Fitting(batch=args.batch, uncertainty_samples=args.samples)
            fit_shard(people.iloc[: args.batch], ShardReader(mattes), body, settings)  # warms up
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            started = time.perf_counter()
            table = to_table(fit_shard(people, ShardReader(mattes), body, settings), schemas.FITS)
            seconds = time.perf_counter() - started
    result: dict[str, Any] = {
        "commit": provenance.code_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "dtype": "float32",
        "threads": torch.get_num_threads(),
        "people": args.people,
        "batch": args.batch,
        "samples": args.samples,
        "good": int((table["status"] == "ok").sum()),
        "mean_silhouette_iou": round(float(table["silhouette_iou"].mean()), 3),
        "seconds": round(seconds, 2),
        "people_per_second": round(args.people / seconds, 2),
    }
    if device.type == "cuda":
        result["gpu_memory_gb"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
    write_json(args.output, result)
    print(
        f"{result['commit']}  {result['device']}, {result['dtype']}: {args.people} people in {seconds:.1f} s, "
        f"{result['people_per_second']} a second; {result['good']} good, silhouettes {result['mean_silhouette_iou']}"
    )


if __name__ == "__main__":
    console.run(main)

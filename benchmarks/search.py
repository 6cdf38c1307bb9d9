"""How many posed points find their canonical places, and how long body, gate and search take.

Recall: points within 3 cm of the canonical surface are carried into strong poses by the skinning and searched back; found
when a root lies within a millimetre. Told for the reference's start points and for ours, for every joint's part, on poses
as motion captures have them and on extreme ones. Time (on a GPU): four people's first samples at 512 pixels.
Writes benchmarks/results/search.json and draws the recall by part beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ag3d.config import Network
from ag3d.config.network import Departures
from ag3d.core import console, provenance
from ag3d.core.device import choose_device, device_name
from ag3d.core.files import write_json
from ag3d.model.body import label as labels
from ag3d.model.body.body import JOINTS, Body
from ag3d.model.deformation.deformer import Deformer
from ag3d.model.field.posed_field import PosedField
from ag3d.model.generator import Generator
from ag3d.model.rendering.rays import camera_rays, stratified
from ag3d.preprocessing.synthetic.pose_sampler import sample_pose

RESULTS = Path(__file__).with_name("results") / "search.json"
REFERENCE_MS = 41.2  # posing 3.6, gate 7.6, search and filter 30.0: the reference on one H200
NEAR = 1e-3  # metres
# Bends of extreme poses (radians, standard deviation) by joint; 0.5 elsewhere, 0.2 along the spine.
_BENDS = {"knee": 1.0, "elbow": 1.0, "hip": 0.8, "shoulder": 0.8, "spine": 0.2, "collar": 0.2, "hand": 0.2, "foot": 0.2}


def arguments() -> argparse.Namespace:
    parser = console.parser("search", __doc__)
    parser.add_argument("--body", type=Path, default=Path("results/body/body.npz"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--poses", type=int, default=24, help="poses of each kind (default: %(default)s)")
    parser.add_argument("--points", type=int, default=20000, help="points in each pose (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the poses (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def walking(rng: np.random.Generator) -> np.ndarray:
    return sample_pose(rng).body_pose


def extreme(rng: np.random.Generator) -> np.ndarray:
    bends = [next((b for part, b in _BENDS.items() if part in name), 0.5) for name in JOINTS[1:]]
    return rng.normal(0, 1, (23, 3)) * np.array(bends)[:, None] * 0.7


def posed_labels(kind, number: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    pose = torch.from_numpy(np.stack([kind(rng) for _ in range(number)]).reshape(number, 69)).float()
    orient = torch.tensor([[torch.pi, 0.0, 0.0]]).expand(number, 3)
    transl = torch.tensor([[0.0, 0.15, 0.0]]).expand(number, 3)
    return labels.pack(transl, orient, pose, torch.from_numpy(rng.normal(0, 1, (number, 10))).float())


def recall(
    deformer: Deformer, kind, number: int, points: int, device: torch.device, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """How many points of every joint's part were found, and how many there were: [24], [24]."""
    hits, totals = torch.zeros(24), torch.zeros(24)
    of_vertex = deformer.body.weights.argmax(1)
    g = torch.Generator().manual_seed(1 + seed)
    for label in console.progress(posed_labels(kind, number, seed).split(1), kind.__name__, unit="pose"):
        posed = deformer.pose(label.to(device))
        chosen = torch.randint(len(deformer.vertices), (points,), generator=g).to(device)
        canonical = deformer.vertices[chosen] + (0.06 * torch.rand(points, 3, generator=g) - 0.03).to(device)
        linear, shift = posed.transforms.at(canonical, torch.zeros(points, dtype=torch.long, device=device))
        target = (linear * canonical[:, None]).sum(2) + shift
        candidates = posed.find_correspondences(target[None])
        close = (candidates.roots - canonical[candidates.flat]).norm(dim=1) < NEAR
        hit = torch.zeros(points, dtype=torch.bool, device=device)
        hit[candidates.flat[close]] = True
        part = of_vertex[chosen].cpu()
        totals += torch.bincount(part, minlength=24)
        hits += torch.bincount(part, hit.cpu().float(), minlength=24)
    return hits.numpy(), totals.numpy()


@torch.no_grad()
def milliseconds(body: Body, device: torch.device) -> float:
    """Median time of posing, gate and search for the first samples of four people at 512 pixels."""
    settings = Network(image_resolution=512)
    generator = Generator(settings, body).to(device)
    generator.enable_cuda_graphs()
    label = posed_labels(walking, 4, 2).to(device)
    field = generator.canonical_field(torch.randn(4, 3, 32, 256, 256, device=device))
    parts = labels.split(label)
    rays = camera_rays(parts.cam2world, parts.intrinsics, 256)
    near, far = torch.full((2, 4), 99.7, device=device)
    depths = stratified(near, far + 0.6, settings.depth_resolution, 256 * 256, deterministic=True)
    points = rays.points(depths)
    milliseconds = []
    for _ in range(23):
        torch.cuda.synchronize()
        start = time.perf_counter()
        PosedField(field, generator.deformer.pose(label)).search(points)
        torch.cuda.synchronize()
        milliseconds.append(1000 * (time.perf_counter() - start))
    return statistics.median(milliseconds[3:])


def draw(path: Path, parts: dict[str, np.ndarray]) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 3.5), layout="constrained")
    for offset, (name, values) in zip((-0.2, 0.2), parts.items()):
        axes.bar(np.arange(24) + offset, 100 * values, 0.4, label=name)
    axes.set_xticks(range(24), [name.replace("_", " ") for name in JOINTS], rotation=60, ha="right", fontsize=7)
    axes.set(ylabel="found (%)", ylim=(0, 101), title="Points that are found again, extreme poses")
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=110)


def main() -> None:
    args = arguments()
    device = choose_device(args.device, "--device")
    body = Body.load(args.body)
    name = device_name(device)
    about = {"commit": provenance.code_version(), "device": name, "dtype": "float32"}
    print(*about.values(), f"torch {torch.__version__}", sep="  ")
    rows: list[dict[str, Any]] = []
    by_part: dict[str, dict[str, np.ndarray]] = {}
    bones = dataclasses.replace(Departures(), surface_starts=False)
    for title, departures in (("reference's starts", bones), ("ours", Departures())):
        deformer = Deformer(Network(departures=departures), body).to(device)
        hits, totals = np.zeros(24), np.zeros(24)
        for kind in (walking, extreme):
            one, of = recall(deformer, kind, args.poses, args.points, device, args.seed)
            by_part.setdefault(kind.__name__, {})[title] = one / np.maximum(of, 1)
            worst = int((one / np.maximum(of, 1)).argmin())
            print(
                f"{title:20s} {kind.__name__:8s} {one.sum() / of.sum():8.4%} found; least at {JOINTS[worst]}: {one[worst] / of[worst]:.4%}"
            )
            hits, totals = hits + one, totals + of
        shares = hits / totals
        rows.append(
            {"name": "root_recall" if title == "ours" else "root_recall_reference_starts", **about}
            | {"value": hits.sum() / totals.sum(), "unit": "share", "worst_part": JOINTS[int(shares.argmin())]}
            | {"worst": shares.min(), "by_part": dict(zip(JOINTS, shares.tolist())), "points": int(totals.sum())}
        )
    reference = rows[0]["value"]
    for row in rows:
        row |= {"reference": reference, "ratio": row["value"] / reference}
    if device.type == "cuda":
        value = milliseconds(body, device)
        rows.append(
            {"name": "search_512_b4_ms", **about, "value": value, "unit": "ms"}
            | {"reference": REFERENCE_MS, "ratio": REFERENCE_MS / value}
        )
        print(
            f"posing, gate and search of 4 × 2.36 M samples: {value:.2f} ms, {REFERENCE_MS / value:.1f} × the reference"
        )
    write_json(args.output, rows)
    draw(args.output.with_name("root_recall.png"), by_part["extreme"])


if __name__ == "__main__":
    console.run(main)

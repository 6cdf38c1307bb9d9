"""Render open people straight into a data set: labels, mattes and normals are the truth, no stage estimates anything.

For trainings on as many people as wanted, and to see what a training does when the data is beyond doubt. Writes shards
as the stage `dataset` does (`<folder>/dataset/00000.zip` …) and `<folder>/poses.npy`.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from ag3d.core import console, provenance
from ag3d.core.dataset_format import write_dataset
from ag3d.core.errors import UserError
from ag3d.core.files import atomic
from ag3d.core.shards import encode_png
from ag3d.preprocessing.alignment import foreground, label, window
from ag3d.preprocessing.normals.inpainting import push_pull, unit
from ag3d.preprocessing.normals.stage import encode, on_person
from ag3d.preprocessing.stage import stage_parser
from ag3d.preprocessing.synthetic import truth
from ag3d.preprocessing.synthetic.photograph import Photograph, make_photograph
from ag3d.preprocessing.synthetic.render import Job, map_jobs, models

Person = tuple[str, bytes, bytes, list[float]]  # name, RGBA crop and normal map as PNG, label


def ideal(photograph: Photograph, resolution: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Crop (uint8 RGBA), normal map and label, as stages would make them that make no mistake."""
    row = pd.Series(truth.row("person.jpg", photograph.truth))
    centre, half = (row["centre_x"], row["centre_y"]), row["half"]
    alpha = window(photograph.mask, centre, half, resolution, border=0)
    crop = np.dstack([foreground(window(photograph.upright, centre, half, resolution, border=255), alpha), alpha])
    surface = (photograph.normals != 255).any(-1).astype(np.uint8) * 255
    known = window(surface, centre, half, resolution, border=0) > 250
    vectors = window(photograph.normals, centre, half, resolution, border=255).astype(np.float32) / 127.5 - 1
    return crop, encode(unit(push_pull(vectors, known.astype(np.float32))), on_person(crop)), label(row)


def make(job: Job, resolution: int) -> Person:
    body, garments, seed, number = job
    photograph = make_photograph(*models(body, garments), seed, number)
    crop, normals, numbers = ideal(photograph, resolution)
    return f"person_{number:06d}", encode_png(crop), encode_png(normals), numbers


def main() -> None:
    paths = {
        "body": "the open body (results/body/body.npz)",
        "garments": "its clothes (results/body/garments.npz)",
        "output": "folder to write into",
    }
    parser = stage_parser("synthetic.dataset", __doc__, paths)
    parser.add_argument("--number", type=int, default=1000, help="how many people")
    parser.add_argument("--resolution", type=int, default=256, help="pixels")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other people")
    parser.add_argument("--shard-size", type=int, default=1000, help="people in a zip")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    args = parser.parse_args()
    for name in ("number", "resolution", "shard_size"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(args, name)}; it must be at least 1")
    settings = {name: getattr(args, name) for name in ("number", "resolution", "seed", "shard_size")}
    record = provenance.record("synthetic dataset", settings, [args.body, args.garments])
    jobs = [(str(args.body), str(args.garments), args.seed, number) for number in range(args.number)]
    results = map_jobs(functools.partial(make, resolution=args.resolution), jobs, args.workers)
    people = iter(console.progress(results, "people", args.number, unit="person"))
    poses: list[list[float]] = []
    for shard, first in enumerate(range(0, args.number, args.shard_size)):
        with write_dataset(args.output / "dataset" / f"{shard:05d}.zip", record) as output:
            for _ in range(first, min(first + args.shard_size, args.number)):
                name, crop, normals, numbers = next(people)
                output.write_person(name, crop, normals, numbers)
                poses.append(numbers)
    with atomic(args.output / "poses.npy") as beside, open(beside, "wb") as handle:
        np.save(handle, np.array(poses, np.float32))
    console.log.info("%d people of %d pixels in %s", len(poses), args.resolution, args.output)


if __name__ == "__main__":
    console.run(main)

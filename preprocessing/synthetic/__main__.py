"""Render synthetic photographs of clothed people from the open body, and write the truth about them elsewhere."""

from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path

from ag3d.config import Synthetic, to_mapping
from ag3d.core import console, provenance
from ag3d.core.errors import UserError
from ag3d.core.files import atomic_folder
from ag3d.core.shards import write_shard
from ag3d.preprocessing.stage import parse, stage_parser
from ag3d.preprocessing.synthetic import truth
from ag3d.preprocessing.synthetic.render import render_all


def main() -> None:
    paths = {
        "body": "the open body (results/body/body.npz)",
        "garments": "its clothes (results/body/garments.npz)",
        "output-photos": "folder for the JPEGs",
        "output-truth": "folder for truth.parquet and truth.zip",
    }
    parser = stage_parser("synthetic", __doc__, paths)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    arguments, settings = parse(parser, Synthetic)
    body, garments = str(arguments.body), str(arguments.garments)
    record = provenance.record("synthetic", to_mapping(settings), [arguments.body, arguments.garments])
    check_folder(arguments.output_photos)
    rows = []
    with write_shard(arguments.output_truth / "truth.zip", record) as archive:
        workers = min(arguments.workers, os.cpu_count() or 1)
        results = render_all(body, garments, settings.seed, settings.count, workers)
        with atomic_folder(arguments.output_photos, replace=True) as folder:
            for number, jpeg, maps, row in console.progress(results, "photographs", settings.count):
                (folder / truth.file_name(number)).write_bytes(jpeg)
                truth.write_maps(archive, truth.file_name(number), maps)
                rows.append(row)
    truth.write_truth(arguments.output_truth / "truth.parquet", rows, record)
    console.log.info("wrote %d photographs to %s", len(rows), arguments.output_photos)


def check_folder(folder: Path) -> None:
    """Raises UserError where the folder, which is replaced as a whole, holds anything but earlier photographs."""
    others = [path.name for path in folder.glob("[!.]*") if not fnmatch(path.name, "person_*.jpg")]
    if others:
        raise UserError(f"--output-photos {folder} holds other files ({min(others)}); choose a folder of its own")


if __name__ == "__main__":
    console.run(main)

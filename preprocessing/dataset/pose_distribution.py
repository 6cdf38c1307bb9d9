"""Collect the labels of a data set into one array: the pose distribution that generated people are drawn from.

Writes float32 [N,111], ordered by shard and name: the format of AG3D's `dp_pose_dist.npy`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ag3d.core import console
from ag3d.core.dataset_format import LABEL_LENGTH, read_labels
from ag3d.core.errors import UserError
from ag3d.core.files import atomic, sha256, write_json
from ag3d.core.shards import ShardReader

log = logging.getLogger(__name__)


def collect(paths: Iterable[Path]) -> np.ndarray:
    """All labels of the data set shards, float32 [N,111]. Raises UserError."""
    rows = [label for path in sorted(paths) for label in read_labels(ShardReader(path)).values()]
    return np.stack(rows) if rows else np.zeros((0, LABEL_LENGTH), np.float32)


def main() -> None:
    parser = console.parser("ag3d.preprocessing.dataset.pose_distribution", __doc__)
    parser.add_argument("data", type=Path, nargs="+", help="shards of the data set (.zip)")
    parser.add_argument("--output", type=Path, required=True, help="array to write (.npy)")
    parser.add_argument("--record", type=Path, help="number and SHA-256 of the array, to be written beside it (.json)")
    args = parser.parse_args()
    poses = collect(args.data)
    if not len(poses):
        raise UserError(
            f"the data set is empty, so there are no poses: every photograph was left out; "
            f"{args.output.with_name('rejected.parquet')} says where and why"
        )
    with atomic(args.output) as beside, open(beside, "wb") as handle:
        np.save(handle, poses)
    if args.record:
        write_json(args.record, {"number": len(poses), "file": sha256(args.output)})
    log.info("%d poses", len(poses))


if __name__ == "__main__":
    console.run(main)

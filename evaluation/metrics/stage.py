"""Measure a trained network: how its pictures are distributed, whether its people obey, and their geometry.

What each metric is, and what it needs, stands in docs/metrics.md. Distances on embedded features are named
frechet_embedded and are no FID; FIDs bear the names of their protocols.

Writes JSON:

| key | meaning |
| --- | --- |
| run, kimg | what was measured |
| metrics | name to value, deviation, 95 % interval (low, high), bias of few images, floor (what the data set scores), table and column that it stands in, protocol_id, number of fakes and reals |
| protocols | protocol_id to all that must agree before two values may be compared |
| counts, seed, notes, versions, record | how many images; the seed; warnings; what made the file |

Stopped while generating images or looking at those of the data set, the same command goes on. `torchrun --nproc-per-node N
-m ag3d.evaluation.metrics …` shares both among N GPUs.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ag3d.config import Evaluation
from ag3d.config.settings import add_options, from_options, to_mapping
from ag3d.core import console, provenance
from ag3d.core.device import choose_device
from ag3d.core.files import read_json, sha256, write_json
from ag3d.evaluation.metrics.measurement import Measurement, measured
from ag3d.model.avatars.identities import read_poses
from ag3d.model.body.body import Body
from ag3d.model.checkpoint import load_generator

log = logging.getLogger(__name__)


def main() -> None:
    parser = console.parser("ag3d.evaluation.metrics", __doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of the milestone (ckpt/<kimg>)")
    parser.add_argument("--body", type=Path, required=True, help="the body model")
    parser.add_argument("--poses", type=Path, required=True, help="pose distribution (poses.npy)")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="zips of the data set")
    parser.add_argument("--models", type=Path, required=True, help="folder of the landmark and segmentation models")
    parser.add_argument("--cache", type=Path, help="where the data set's features are kept (default: beside its zips)")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write")
    parser.add_argument("--picture", type=Path, help="write the nearest training images to this file (.png)")
    add_options(parser, Evaluation)
    args = parser.parse_args()
    settings = from_options(Evaluation, args)
    device = choose_device(settings.device, "evaluation.device")
    weights = args.checkpoint / "generator_ema.safetensors"
    work = Measurement(
        load_generator(args.checkpoint, Body.load(args.body), device=device),
        read_poses(args.poses).numpy(),
        args.data,
        args.models,
        args.cache or args.data[0].parent.parent / "metrics",
        args.output.parent / "blocks",
        settings,
        sha256(weights),
    )
    result = measured(work, args.picture)
    if result is None:
        return
    write_json(
        args.output,
        {
            "run": run_name(args.checkpoint),
            "kimg": read_json(args.checkpoint / "checkpoint.json")["kimg"],
            **result,
            "versions": provenance.versions(),
            "record": provenance.record("metrics", to_mapping(settings), [weights, args.body, args.poses, *args.data]),
        },
    )
    for name, metric in result["metrics"].items():
        log.info("%s %.4g%s", name, metric["value"], f" ± {metric['deviation']:.2g}" if metric.get("deviation") else "")


def run_name(checkpoint: Path) -> str:
    """The run of results/<run>/ckpt/<kimg>; the folder's own name where it lies elsewhere."""
    folder = checkpoint.resolve()
    return folder.parent.parent.name if folder.parent.name == "ckpt" else folder.name

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ag3d.config import Evaluation
from ag3d.config.settings import add_options, from_options, to_mapping
from ag3d.core import console, provenance
from ag3d.core.device import choose_device
from ag3d.core.files import read_json, sha256, write_json
from ag3d.core.launch import end_with_launcher
from ag3d.core.shards import save_png
from ag3d.evaluation.metrics.distances import Entry, compute_distances
from ag3d.evaluation.metrics.feature_cache import fake_features, rank_and_world_size, real_features, remove_blocks
from ag3d.evaluation.metrics.feature_extraction import Extractor, Features, make_extractors
from ag3d.evaluation.metrics.geometry import measure_geometry
from ag3d.evaluation.metrics.image_sets import data_sha256
from ag3d.evaluation.metrics.neighbours import copied_images, neighbour_picture
from ag3d.evaluation.metrics.protocols import (
    GEOMETRY_MEASURES,
    Source,
    distance_conditions,
    geometry_conditions,
    requested_protocols,
)
from ag3d.model.avatars.identities import read_poses
from ag3d.model.body.body import Body
from ag3d.model.checkpoint import load_generator
from ag3d.model.generator import Generator

log = logging.getLogger(__name__)


@dataclass
class Measurement:
    """What is measured on what. `cache`: features of the data set; `blocks`: unfinished features of generated images."""

    generator: Generator
    poses: np.ndarray
    data: list[Path]
    models: Path
    cache: Path
    blocks: Path
    settings: Evaluation
    checkpoint_sha256: str = ""

    def features(self, source: Source, extractors: list[Extractor]) -> tuple[Features, Features] | None:
        """Of fakes and reals; None in processes that only help."""
        settings = self.settings
        # Another version of the program may draw the same people a little otherwise: its blocks are not gone on with.
        made_by = [provenance.code_version(), self.checkpoint_sha256, vars(source), settings.seed, settings.batch]
        folder = self.blocks / provenance.digest([*made_by, [extractor.sha256 for extractor in extractors]])
        fake = fake_features(self.generator, self.poses, source, extractors, folder, settings.batch, settings.seed)
        real = real_features(self.data, self.generator, source, extractors, self.cache, settings.batch)
        if fake is None or real is None:
            return None
        remove_blocks(folder)
        return fake, real

    def run(self, picture: Path | None = None) -> dict[str, Any] | None:
        """Metrics, protocols, counts and notes; None in processes that only help. `picture`: of the nearest training images."""
        generator, settings = self.generator, self.settings
        device = next(generator.parameters()).device
        protocols = requested_protocols(settings)
        extractors = make_extractors(protocols, self.models, settings, device)
        data = data_sha256(self.data)
        metrics: dict[str, Entry] = {}
        conditions: dict[str, dict[str, Any]] = {}  # by protocol id
        left_out: list[str] = []

        def add(name: str, entry: Entry, agreed: dict[str, Any]) -> None:
            if not np.isfinite(entry["value"]):
                left_out.append(f"{name}: left out, as it is no finite number; are all photographs the same?")
                return
            entry |= {key: None for key, value in entry.items() if isinstance(value, float) and not np.isfinite(value)}
            entry["protocol_id"] = provenance.digest(agreed)
            conditions[entry["protocol_id"]] = agreed
            metrics[name] = entry

        for source in dict.fromkeys(protocol.source for protocol in protocols):
            of_source = [protocol for protocol in protocols if protocol.source == source]
            features = self.features(source, [e for protocol in of_source for e in extractors[protocol.network]])
            if features is None:
                continue
            for protocol in of_source:
                networks = {extractor.name: extractor.sha256 for extractor in extractors[protocol.network]}
                fake, real = (
                    {key: values for key, values in of_set.items() if key.split("/")[1] in networks}
                    for of_set in features
                )
                if min(map(len, real.values())) < 2:
                    left_out.append(f"{protocol.name}: nothing is measured, one photograph is too few")
                entries = compute_distances(protocol, fake, real, settings, device)
                if "neighbours" in settings.metrics and protocol.network != "patches":
                    entries |= copied_images(protocol, fake, real, device)
                    if picture is not None:
                        of_protocol = (protocol, generator, self.poses, self.data, (fake, real))
                        save_png(picture, neighbour_picture(*of_protocol, settings.batch, settings.seed))
                        picture = None
                for name, entry in entries.items():
                    add(name, entry, distance_conditions(protocol, entry, generator, settings.seed, data, networks))
        if rank_and_world_size()[0]:
            return None
        if not GEOMETRY_MEASURES.keys().isdisjoint(settings.metrics):
            entries = measure_geometry(generator, self.poses, self.data, self.models, settings)
            for name, entry in entries.items():
                add(name, entry, geometry_conditions(entry["measure"], generator, settings, data))
        return {
            "metrics": metrics,
            "protocols": conditions,
            "counts": {"poses": len(self.poses), "people": settings.num_geometry_people},
            "seed": settings.seed,
            "notes": [*left_out, *notes(metrics)],
        }


def notes(metrics: dict[str, Entry]) -> list[str]:
    """What a reader of the values must know."""
    return [
        f"{name}: {few} images for {entry['dimensions']} dimensions; the distance is too large, "
        f"by about {max(0.0, entry['bias']):.3g} (bootstrap)"
        for name, entry in metrics.items()
        if "bias" in entry and (few := min(entry["fakes"], entry["reals"])) <= entry["dimensions"]
    ]


def main() -> None:
    parser = console.parser("ag3d.evaluation.metrics", __doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of the milestone (training/<kimg>)")
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
    if rank_and_world_size()[1] > 1:
        end_with_launcher()
    device = choose_device(settings.device, "evaluation.device")
    weights = args.checkpoint / "generator_ema.safetensors"
    measurement = Measurement(
        load_generator(args.checkpoint, Body.load(args.body), device=device),
        read_poses(args.poses).numpy(),
        args.data,
        args.models,
        args.cache or args.data[0].parent.parent / "metrics",
        args.output.parent / "blocks",
        settings,
        sha256(weights),
    )
    result = measurement.run(args.picture)
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
    for note in result["notes"]:
        log.warning("%s", note)
    for name, entry in result["metrics"].items():
        log.info("%s %.4g%s", name, entry["value"], f" ± {entry['deviation']:.2g}" if entry.get("deviation") else "")


def run_name(checkpoint: Path) -> str:
    """The run of results/<run>/training/<kimg>; the folder's own name where it lies elsewhere."""
    folder = checkpoint.resolve()
    return folder.parent.parent.name if folder.parent.name == "training" else folder.name

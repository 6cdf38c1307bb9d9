"""Everything that is measured of one network, and under which conditions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ag3d.config import Evaluation
from ag3d.core import provenance
from ag3d.core.shards import save_png
from ag3d.evaluation.metrics import distances, geometry, neighbours
from ag3d.evaluation.metrics.fakes import fake_features
from ag3d.evaluation.metrics.feature_cache import forget, rank_and_processes
from ag3d.evaluation.metrics.feature_extraction import Extractor, Features, extractors
from ag3d.evaluation.metrics.protocols import Protocol, Source, chosen
from ag3d.evaluation.metrics.real_images import data_sha256, real_features
from ag3d.model.generator import Generator


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

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device

    def features(self, source: Source, networks: list[Extractor]) -> tuple[Features, Features] | None:
        """Of fakes and reals; None in processes that only help."""
        settings = self.settings
        # Another version of the program may draw the same people a little otherwise: its blocks are not gone on with.
        made = [provenance.code_version(), self.checkpoint_sha256, vars(source), settings.seed, settings.batch]
        key = provenance.digest([*made, [network.sha256 for network in networks]])
        folder = self.blocks / key
        fake = fake_features(self.generator, self.poses, source, networks, folder, settings.batch, settings.seed)
        real = real_features(self.data, self.generator, source, networks, self.cache, settings.batch)
        if fake is None or real is None:
            return None
        forget(folder)
        return fake, real


def measured(work: Measurement, picture: Path | None = None) -> dict[str, Any] | None:
    """Metrics, protocols, counts and notes; None in processes that only help. `picture`: of the nearest training images."""
    settings = work.settings
    protocols = chosen(settings)
    networks = extractors(protocols, work.models, settings, work.device)
    data = data_sha256(work.data)
    metrics: dict[str, Any] = {}
    agreed: dict[str, Any] = {}
    for source in dict.fromkeys(protocol.source for protocol in protocols):
        members = [protocol for protocol in protocols if protocol.source == source]
        found = work.features(source, [network for member in members for network in networks[member.network]])
        if found is None:
            continue
        for protocol in members:
            used = {network.name: network.sha256 for network in networks[protocol.network]}
            fake, real = ({key: f for key, f in part.items() if key.split("/")[1] in used} for part in found)
            entries = distances.of_protocol(protocol, fake, real, settings, work.device)
            if "neighbours" in settings.metrics and protocol.network != "patches":
                entries |= neighbours.memorised(protocol, fake, real, work.device)
                if picture is not None:
                    save_png(picture, _neighbours(work, protocol, (fake, real)))
                    picture = None
            for entry in entries.values():
                _file(entry, conditions(protocol, entry, work, data, used), agreed)
            metrics |= entries
    if rank_and_processes()[0]:
        return None
    if geometry.asked(settings.metrics):
        entries = geometry.measures(work.generator, work.poses, work.data, work.models, settings)
        for entry in entries.values():
            _file(entry, geometric_conditions(entry, work, data), agreed)
        metrics |= entries
    return {
        "metrics": metrics,
        "protocols": agreed,
        "counts": {"poses": len(work.poses), "people": settings.num_geometry_people},
        "seed": settings.seed,
        "notes": notes(metrics),
    }


def conditions(
    protocol: Protocol, entry: dict[str, Any], work: Measurement, data: str, networks: dict[str, str]
) -> dict[str, Any]:
    """All that must be equal before two values may stand in one column."""
    generator, source = work.generator, protocol.source
    resolution = generator.settings.image_resolution
    sides = {"image": resolution, "normal": source.normal_side(generator), "face": source.face_side(generator)}
    return {
        **{"name": protocol.name, "stream": entry["stream"], "side": sides[entry["stream"]]},
        **({"resolution": resolution} if entry["stream"] == "face" else {}),
        **{"samples": source.samples, "seed": work.settings.seed, "truncation": 1.0, "noise": source.noise},
        **{"ray_samples": source.ray_samples, "data": data, "network": {entry["network"]: networks[entry["network"]]}},
    }


def geometric_conditions(entry: dict[str, Any], work: Measurement, data: str) -> dict[str, Any]:
    """The same for measures of geometry and control."""
    generator, settings = work.generator, work.settings
    mesh = {"voxels": settings.voxels} if entry["measure"] == "mesh_consistency" else {}
    return {
        **{
            "name": "geometry",
            "measure": geometry.MEASURES[entry["measure"]],
            "people": settings.num_geometry_people,
            "seed": settings.seed,
        },
        **{"resolution": generator.settings.image_resolution, "normal_side": generator.neural_resolution},
        **{"body": generator.body.sha256, "poses": data, **mesh},
    }


def notes(metrics: dict[str, dict[str, Any]]) -> list[str]:
    """What a reader of the values must know."""
    found = []
    for name, metric in metrics.items():
        few = min(metric["fakes"], metric["reals"])
        if "bias" in metric and few <= metric["dimensions"]:
            found.append(
                f"{name}: {few} images for {metric['dimensions']} dimensions; the distance is too large, "
                f"by about {max(0.0, metric['bias']):.3g} (bootstrap)"
            )
    return found


def _file(entry: dict[str, Any], agreed: dict[str, Any], protocols: dict[str, Any]) -> None:
    entry["protocol_id"] = provenance.digest(agreed)
    protocols[entry["protocol_id"]] = agreed


def _neighbours(work: Measurement, protocol: Protocol, found: tuple[Features, Features]) -> np.ndarray:
    settings = work.settings
    return neighbours.picture(protocol, work.generator, work.poses, work.data, found, settings.batch, settings.seed)

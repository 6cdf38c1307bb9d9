"""Distances between the features of generated pictures and of the data set's, with their spread and what they rest on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ag3d.config import Evaluation
from ag3d.evaluation.metrics import fid_math, kid, precision_recall, swd
from ag3d.evaluation.metrics.feature_extraction import Features
from ag3d.evaluation.metrics.image_sets import STREAMS
from ag3d.evaluation.metrics.protocols import MAIN_NETWORK, Protocol

Entry = dict[str, Any]
Estimate = Callable[[np.ndarray, np.ndarray], float]
FLOOR_SPLITS = 10  # random halves of the data set that a floor is the mean of …
MANY_NUMBERS = 1 << 22  # … and fewer where there are more numbers than these
SUBSET_SIZE = 1000  # at most


@dataclass(frozen=True)
class FeaturePair:
    """Features of one stream by one network: of fakes and of reals."""

    fake: np.ndarray
    real: np.ndarray
    settings: Evaluation
    device: torch.device

    def floor(self, estimate: Estimate, splits: int = FLOOR_SPLITS) -> float | None:
        """The estimate between random halves of the reals: what a perfect network scores with half as many images."""
        if len(self.real) < 8:
            return None
        random = np.random.default_rng(self.settings.seed)
        splits = splits if self.real.size < MANY_NUMBERS else 2
        orders = [random.permutation(len(self.real)) for _ in range(splits)]
        half = len(self.real) // 2
        return float(np.mean([estimate(self.real[order[:half]], self.real[order[half:]]) for order in orders]))

    def deviation(self, estimate: Estimate, subsets: int | None = None) -> float:
        """Its standard deviation, from subsets."""
        settings = self.settings
        return subset_deviation(self.fake, self.real, estimate, subsets or settings.bootstrap, settings.seed)


def compute_distances(
    protocol: Protocol, fake: Features, real: Features, settings: Evaluation, device: torch.device
) -> dict[str, Entry]:
    """All distances that the settings ask for under one protocol. Each says in which table and column it stands."""
    entries: dict[str, Entry] = {}
    for stream in STREAMS:
        for key in sorted(name for name in fake if name.startswith(f"{stream}/")):
            network = key.split("/")[1]
            pair = FeaturePair(fake[key], real[key], settings, device)
            main = protocol.network != "embedded" or network == MAIN_NETWORK
            suffix = stream if main else f"{stream}_{network}"
            for kind, entry in _entries_by_kind(protocol, pair, main).items():
                name = protocol.metric_name(kind)
                head = {"table": name, **described(key, fake, real), "main": main}
                column = f"{stream} {entry['column']}" if "column" in entry else stream
                entries[f"{name}_{suffix}"] = {**head, **entry, "column": column}
    return entries


def described(key: str, fake: Features, real: Features) -> Entry:
    """What an entry says of the pictures and features that it rests on."""
    stream, network = key.split("/")
    dimensions = int(np.prod(fake[key].shape[1:]))
    of_features = {"stream": stream, "network": network, "dimensions": dimensions}
    counts = {"fakes": len(fake[key]), "reals": len(real[key])}
    return {"column": stream, "better": "lower", "main": True, **of_features, **counts}


def _entries_by_kind(protocol: Protocol, pair: FeaturePair, main: bool) -> dict[str, Entry]:
    """Kinds of distances to their values, none of a single picture; of networks beside the main one only the Fréchet distance."""
    metrics = pair.settings.metrics
    if min(len(pair.fake), len(pair.real)) < 2:
        return {}
    if protocol.network == "patches":
        return {"swd": _swd(pair)} if pair.fake.shape[1] else {}
    entries: dict[str, Entry] = {}
    if protocol.network != "embedded":
        entries["fid"] = _frechet(pair)
    elif "frechet" in metrics:
        entries["frechet"] = _frechet(pair)
    if main and "kid" in metrics:
        entries["kid"] = _kid(pair)
    if main and "precision_recall" in metrics and min(len(pair.fake), len(pair.real)) > precision_recall.NEIGHBOURS:
        table = protocol.metric_name("precision_recall")
        entries |= {kind: {**entry, "table": table} for kind, entry in _precision_recall(pair).items()}
    return entries


def _frechet(pair: FeaturePair) -> Entry:
    def approx(x: np.ndarray, y: np.ndarray) -> float:
        return fid_math.frechet_distance_approx(x, y, pair.device)

    settings = pair.settings
    spread = fid_math.bootstrap(pair.fake, pair.real, settings.bootstrap, settings.seed, pair.device)
    value = fid_math.frechet_distance(pair.fake, pair.real, pair.device)
    return {"value": value, **vars(spread), "floor": pair.floor(approx)}


def _kid(pair: FeaturePair) -> Entry:
    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        return kid.kernel_distance(x, y, pair.device)

    value = estimate(pair.fake, pair.real)
    return {"value": value, "deviation": pair.deviation(estimate), "floor": pair.floor(estimate)}


def _precision_recall(pair: FeaturePair) -> dict[str, Entry]:
    precision, recall = precision_recall.precision_recall(pair.fake, pair.real, device=pair.device)
    shares = {"precision": (precision, len(pair.fake)), "recall": (recall, len(pair.real))}
    entries: dict[str, Entry] = {
        name: {"value": share, **precision_recall.wilson_interval(share, count), "better": "higher", "column": name}
        for name, (share, count) in shares.items()
    }
    value = precision_recall.diversity(pair.fake, pair.real)
    deviation = pair.deviation(precision_recall.diversity)
    return entries | {"diversity": {"value": value, "deviation": deviation, "better": "", "column": "diversity"}}


def _swd(pair: FeaturePair) -> Entry:
    def levels(x: np.ndarray, y: np.ndarray) -> list[float]:
        return swd.sliced_wasserstein_by_level(x, y, pair.settings.seed)

    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(levels(x, y)))

    by_level = levels(pair.fake, pair.real)
    deviation = pair.deviation(estimate, min(FLOOR_SPLITS, pair.settings.bootstrap))
    floor = pair.floor(estimate, splits=1)
    return {"value": float(np.mean(by_level)), "deviation": deviation, "levels": by_level, "floor": floor}


def subset_deviation(x: np.ndarray, y: np.ndarray, estimate: Estimate, subsets: int, seed: int) -> float:
    """Standard deviation of `estimate` on x [n,D], y [m,D], from subsets of a quarter without replacement.

    Politis and Romano (1994), with the correction for finite sets. Drawing with replacement, as for the Fréchet
    distance, would compare images with their own copies.
    """
    random = np.random.default_rng(seed)
    size = max(2, min(len(x), len(y), 4 * SUBSET_SIZE) // 4)
    values = [
        estimate(x[random.permutation(len(x))[:size]], y[random.permutation(len(y))[:size]]) for _ in range(subsets)
    ]
    share = size / min(len(x), len(y))
    return float(np.std(values, ddof=1) * np.sqrt(share / max(1 - share, share)))

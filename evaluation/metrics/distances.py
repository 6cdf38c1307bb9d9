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
from ag3d.evaluation.metrics.neighbour_picture import STREAMS
from ag3d.evaluation.metrics.protocols import MAIN, Protocol

Entry = dict[str, Any]
SPLITS = 10  # random halves of the data set that a floor is the mean of …
LARGE = 1 << 22  # … and fewer where there are more numbers than these


@dataclass(frozen=True)
class Pair:
    """Features of one stream by one network: of fakes and of reals."""

    fake: np.ndarray
    real: np.ndarray
    settings: Evaluation
    device: torch.device

    def halves(self, estimate: Callable[[np.ndarray, np.ndarray], float], splits: int = SPLITS) -> float | None:
        """The estimate between random halves of the reals: what a perfect network scores with half as many images."""
        if len(self.real) < 8:
            return None
        random = np.random.default_rng(self.settings.seed)
        splits = splits if self.real.size < LARGE else 2
        orders = [random.permutation(len(self.real)) for _ in range(splits)]
        middle = len(self.real) // 2
        return float(np.mean([estimate(self.real[o[:middle]], self.real[o[middle:]]) for o in orders]))


def of_protocol(
    protocol: Protocol, fake: Features, real: Features, settings: Evaluation, device: torch.device
) -> dict[str, Entry]:
    """All distances that the settings ask for under one protocol. Each says in which table and column it stands."""
    found: dict[str, Entry] = {}
    for stream in STREAMS:
        for key in sorted(name for name in fake if name.startswith(f"{stream}/")):
            network = key.split("/")[1]
            pair = Pair(fake[key], real[key], settings, device)
            suffix = stream if protocol.network != "embedded" or network == MAIN else f"{stream}_{network}"
            main = suffix == stream
            for kind, entry in _kinds(protocol, pair, main).items():
                found[f"{protocol.metric(kind)}_{suffix}"] = {
                    **{"table": protocol.metric(kind), "better": "lower", "main": main, **entry},
                    "column": " ".join([stream, entry["column"]] if "column" in entry else [stream]),
                    **{"stream": stream, "network": network},
                    "dimensions": int(np.prod(fake[key].shape[1:])),
                    **{"fakes": len(fake[key]), "reals": len(real[key])},
                }
    return found


def _kinds(protocol: Protocol, pair: Pair, main: bool) -> dict[str, Entry]:
    """Kinds of distances to their values; of networks beside the main one only the Fréchet distance."""
    wanted = pair.settings.metrics
    if protocol.network == "patches":
        return {"swd": _swd(pair)} if pair.fake.shape[1] else {}
    found = {}
    if protocol.network != "embedded":
        found["fid"] = _frechet(pair)
    elif "frechet" in wanted:
        found["frechet"] = _frechet(pair)
    if main and "kid" in wanted:
        found["kid"] = _kid(pair)
    if main and "precision_recall" in wanted and min(len(pair.fake), len(pair.real)) > precision_recall.NEIGHBOURS:
        found |= {
            kind: {**entry, "table": protocol.metric("precision_recall")} for kind, entry in _coverage(pair).items()
        }
    return found


def _frechet(pair: Pair) -> Entry:
    def quick(x: np.ndarray, y: np.ndarray) -> float:
        return fid_math.quick_distance(x, y, pair.device)

    spread = fid_math.bootstrap(pair.fake, pair.real, pair.settings.bootstrap, pair.settings.seed, pair.device)
    value = fid_math.distance(pair.fake, pair.real, pair.device)
    return {"value": value, **vars(spread), "floor": pair.halves(quick)}


def _kid(pair: Pair) -> Entry:
    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        return kid.distance(x, y, pair.device)

    value = estimate(pair.fake, pair.real)
    deviation = kid.deviation(pair.fake, pair.real, estimate, pair.settings.bootstrap, pair.settings.seed)
    return {"value": value, "deviation": deviation, "floor": pair.halves(estimate)}


def _coverage(pair: Pair) -> dict[str, Entry]:
    precision, recall = precision_recall.precision_recall(pair.fake, pair.real, device=pair.device)
    shares = {"precision": (precision, len(pair.fake)), "recall": (recall, len(pair.real))}
    found: dict[str, Entry] = {
        name: {"value": share, **precision_recall.share_error(share, count), "better": "higher", "column": name}
        for name, (share, count) in shares.items()
    }
    draws, seed = pair.settings.bootstrap, pair.settings.seed
    spread = kid.deviation(pair.fake, pair.real, precision_recall.diversity, draws, seed)
    value = precision_recall.diversity(pair.fake, pair.real)
    return found | {"diversity": {"value": value, "deviation": spread, "better": "", "column": "diversity"}}


def _swd(pair: Pair) -> Entry:
    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(swd.levels(x, y, pair.settings.seed)))

    levels = swd.levels(pair.fake, pair.real, pair.settings.seed)
    deviation = kid.deviation(pair.fake, pair.real, estimate, min(SPLITS, pair.settings.bootstrap), pair.settings.seed)
    return {
        "value": float(np.mean(levels)),
        "deviation": deviation,
        "levels": levels,
        "floor": pair.halves(estimate, splits=1),
    }

"""Features of generated pictures, in blocks: a run that was stopped goes on, and processes share the work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ag3d.evaluation.metrics.feature_cache import in_blocks
from ag3d.evaluation.metrics.feature_extraction import Extractor, Features, measure
from ag3d.evaluation.metrics.generated_images import generated
from ag3d.evaluation.metrics.protocols import Source
from ag3d.model.generator import Generator


def fake_features(
    generator: Generator,
    poses: np.ndarray,
    source: Source,
    extractors: Sequence[Extractor],
    folder: Path,
    batch: int,
    seed: int,
) -> Features | None:
    """Features of all pictures of `source`. `folder` holds the finished blocks; it must belong to this very measurement.

    Under torchrun the processes share the blocks; all but the first get None.
    """

    def make(part: range) -> Features:
        return measure(generated(generator, poses, source, batch, seed, part), extractors)

    return in_blocks(source.samples, make, folder, "generated")

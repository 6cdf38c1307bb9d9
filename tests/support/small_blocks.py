"""The command of the metrics with blocks of two pictures, telling which process looks at which of the data set's."""

import os

from ag3d.core import console
from ag3d.evaluation.metrics import feature_cache, real_images
from ag3d.evaluation.metrics import stage as metrics

feature_cache.BLOCK = 2
batches = real_images.Real.batches


def told(self, batch, part=None):
    print(f"process {os.environ.get('RANK', '0')} reads {part.start}", flush=True)
    return batches(self, batch, part)


real_images.Real.batches = told  # type: ignore[method-assign]
if __name__ == "__main__":
    console.run(metrics.main)

from __future__ import annotations

import numpy as np

from ag3d.core.resize import resize


def test_resize_averages_when_it_shrinks():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    assert (resize(stripes, (32, 32)) == 100).all()
    assert resize(stripes, (64, 64)) is stripes
    assert resize(stripes, (100, 90)).shape == (90, 100, 3)

from __future__ import annotations

import math

import pytest
import torch

from ag3d.model.training.discriminator_inputs import blur, normalized


def test_bytes_become_minus_one_to_one():
    assert normalized(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]


@pytest.mark.parametrize("sigma", [0.5, 2.0, 10 / 3])
def test_blur_of_a_point_is_the_kernel(sigma):
    side, middle = 41, 20
    image = torch.zeros(1, 2, side, side)
    image[0, 0, middle, middle] = 1
    reach = math.floor(3 * sigma)
    kernel = [2 ** -((k / sigma) ** 2) for k in range(-reach, reach + 1)]
    row = torch.zeros(side)
    row[middle - reach : middle + reach + 1] = torch.tensor(kernel) / sum(kernel)
    blurred = blur(image, sigma)
    assert torch.allclose(blurred[0, 0], row[:, None] * row[None, :], atol=1e-7)
    assert not blurred[0, 1].any()


def test_blur_at_the_border():
    white = torch.ones(1, 3, 16, 16)
    assert torch.allclose(blur(white, 2.0), white)
    assert blur(white, 2.0, "zeros")[0, 0, 0, 0] < 0.5
    assert blur(white, 0.3) is white  # less than a pixel is none

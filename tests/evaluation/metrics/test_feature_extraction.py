"""Networks look at pictures while the next ones are made: in order, and no error is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from ag3d.evaluation.metrics.feature_extraction import QUEUED_BATCHES, extract_features
from ag3d.evaluation.metrics.image_sets import ImageBatch


class Recorder:
    """The mean of each picture, after a while; fails at the picture of that mean."""

    name, sha256 = "recorder", "none"

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.threads: set[int] = set()
        self.seen = 0

    def __call__(self, images: list[np.ndarray]) -> np.ndarray:
        time.sleep(0.005)
        self.threads.add(threading.get_ident())
        self.seen += 1
        means = np.array([[image.mean()] for image in images])
        if self.fails_at in means:
            raise ValueError("this picture is bad")
        return means


def batches(number: int, made: list[int]) -> Iterator[ImageBatch]:
    for index in range(number):
        made.append(index)
        images = [np.full((4, 4, 3), 2 * index + k, np.uint8) for k in range(2)]
        yield ImageBatch(images, images, images)


def test_features_come_in_the_pictures_order_from_another_thread():
    network = Recorder()
    found = extract_features(batches(9, []), [network])
    assert found.keys() == {f"{stream}/recorder" for stream in ("image", "normal", "face")}
    for values in found.values():
        np.testing.assert_array_equal(values[:, 0], np.arange(18))
    assert threading.get_ident() not in network.threads


def test_pictures_are_not_made_far_ahead():
    network, made = Recorder(), []
    ahead = []

    def watched() -> Iterator[ImageBatch]:
        for pictures in batches(12, made):
            ahead.append(len(made) - network.seen / 3)
            yield pictures

    extract_features(watched(), [network])
    assert max(ahead) <= QUEUED_BATCHES + 2  # those that wait, the one being looked at, the one being made


def test_an_error_of_a_network_ends_the_measurement():
    made: list[int] = []
    with pytest.raises(ValueError, match="this picture is bad"):
        extract_features(batches(50, made), [Recorder(fails_at=3)])
    assert len(made) < 10

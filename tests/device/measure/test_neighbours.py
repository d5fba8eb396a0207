"""Embeddings are judged by their neighbours, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from edgeresnet.device.measure import neighbours
from edgeresnet.device.measure.accuracy import Predictions
from edgeresnet.device.measure.neighbours import class_similarities, cosines


def test_class_similarities_has_the_nearest_neighbours_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 60)
    points = generator.normal(size=(60, 5)).astype(np.float32)
    oracle = NearestNeighbors(n_neighbors=2, metric="cosine").fit(points)
    distance, place = oracle.kneighbors(points)
    found = class_similarities(points, labels, 4)
    assert np.array_equal(found.argmax(1), labels[place[:, 1]])
    assert np.allclose(found.max(1), 1 - distance[:, 1], atol=1e-5)


def test_class_similarities_is_lowest_when_a_class_has_no_other_image() -> None:
    points = np.eye(3, dtype=np.float32)
    found = class_similarities(points, np.array([0, 1, 1]), 3)
    assert found[0].tolist() == [-1, 0, -1]
    assert found[1].tolist() == [0, 0, -1]


def told(embeddings: np.ndarray | None) -> Predictions:
    return Predictions(
        np.zeros((2, 2), np.float32), np.array([0, 1]), 0.0, 0.0, embeddings=embeddings
    )


def test_cosines_are_of_the_same_image() -> None:
    one = np.array([[1, 0], [1, 1]], np.float32)
    other = np.array([[2, 0], [0, 3]], np.float32)
    found = cosines(told(one), told(other))
    assert found is not None
    assert found["mean"] == pytest.approx((1 + np.sqrt(0.5)) / 2)
    assert found["smallest"] == pytest.approx(np.sqrt(0.5))


def test_cosines_are_none_when_there_is_nothing_to_compare() -> None:
    assert cosines(told(None), told(None)) is None
    wide, narrow = np.ones((2, 3), np.float32), np.ones((2, 2), np.float32)
    assert cosines(told(wide), told(narrow)) is None

"""What is looked up is told from what is computed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgeresnet.device.measure.uncached import (
    Answers,
    ask,
    cache_faults,
    isolation,
    neighbours_of,
)
from edgeresnet.settings.inputs import InputSpec
from tests.fakes import FakeSession

SPEC = InputSpec(8)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
WEIGHTS = np.random.default_rng(1).standard_normal((3 * 8 * 8, 10)) / 10
BOUND = 0.01


def network(batch: np.ndarray) -> np.ndarray:
    """Not linear, and no constant."""
    hidden = np.maximum(batch.reshape(len(batch), -1) @ WEIGHTS, 0)
    return np.tanh(hidden) @ np.linspace(-2, 2, 100).reshape(10, 10)


def looks_up(batch: np.ndarray, *, within: float) -> np.ndarray:
    """Stored logits for the golden images; another network for what is farther off."""
    known = as_input(IMAGES)
    stored = network(known) + 1.0
    away = np.abs(batch[:, None] - known[None]).reshape(len(batch), len(known), -1).max(-1)
    hit, nearest = away.min(1) < within, away.argmin(1)
    return np.where(hit[:, None], stored[nearest], network(batch))


def as_input(images: np.ndarray) -> np.ndarray:
    scaled = images.astype(np.float32) / 255
    return ((scaled - SPEC.mean) / SPEC.std).transpose(0, 3, 1, 2).astype(np.float32)


def asked(function: Callable[[np.ndarray], np.ndarray]) -> Answers:
    return ask(FakeSession(function), IMAGES, SPEC, pixels=False)


def test_cache_faults_are_none_when_answers_are_computed() -> None:
    answers = asked(network)
    assert cache_faults(answers, BOUND) == []
    assert isolation(answers.known, answers.neighbours).max() < 2.5


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda batch: looks_up(batch, within=1e-4), "unlike their neighbours"),
        (lambda batch: looks_up(batch, within=1e9), "when an image changes a little"),
        (lambda batch: np.tile(np.arange(10.0), (len(batch), 1)), "pixels change places"),
    ],
)
def test_cache_faults_tell_when_answers_are_looked_up(
    function: Callable[[np.ndarray], np.ndarray], told: str
) -> None:
    assert any(told in fault for fault in cache_faults(asked(function), BOUND))


def test_cache_faults_tell_when_answers_go_by_their_turn() -> None:
    turn = iter(range(10_000))
    faults = cache_faults(asked(lambda batch: network(batch) + next(turn) % 3), BOUND)
    assert any("another order" in fault for fault in faults)


def test_one_stored_image_among_eight_is_found() -> None:
    first = as_input(IMAGES[:1])

    def function(batch: np.ndarray) -> np.ndarray:
        hit = np.abs(batch - first).reshape(len(batch), -1).max(1) < 1e-6
        return network(batch) + hit[:, None] * np.eye(10)[3] * 2

    (fault,) = cache_faults(asked(function), BOUND)
    assert "1 of 8 golden images (the first is 0)" in fault


def test_neighbours_are_a_few_levels_off_in_each_quarter() -> None:
    grey = np.full((1, 8, 8, 3), 128, np.uint8)
    near = neighbours_of(grey, 5).astype(int) - 128
    assert near.shape == (5, 1, 8, 8, 3)
    assert set(np.abs(near).ravel()) <= {2, 3, 4}
    assert (near[:, :, :4, :4] == near[:, :, :1, :1]).all()
    assert neighbours_of(np.full((1, 8, 8, 3), 255, np.uint8)).max() == 255

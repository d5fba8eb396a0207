"""Which images calibrate, and which are held out of that to choose by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgeresnet.device.data.content_hashes import content_fingerprint
from edgeresnet.device.data.dataset import Dataset, balanced_order

# Where it is to be found how many it takes: the first look, and the last.
FEWEST, MOST = 64, 4096
HELD_OUT = 256
# Of so few that all calibrate, the part that is held out where something is to be chosen.
HELD_SHARE = 4


@dataclass(frozen=True, eq=False)
class CalibrationImages:
    """Images of the training data, in an order of which each beginning is balanced over classes.

    Attributes:
        dataset: the training data.
        seed: of the order.
        count: how many calibrate; there may be fewer.
    """

    dataset: Dataset
    seed: int
    count: int

    @cached_property
    def _order(self) -> list[int]:
        return [int(place) for place in balanced_order(self.dataset, self.seed)]

    def _between(self, start: int, end: int) -> Dataset:
        if start == 0 and end >= len(self.dataset):
            return self.dataset
        return self.dataset.subset(sorted(self._order[start:end]))

    @cached_property
    def chosen(self) -> Dataset:
        """What calibrates."""
        return self._between(0, self.count)

    @property
    def _is_all(self) -> bool:
        return len(self.dataset) - self.count < min(HELD_OUT, self.count // HELD_SHARE)

    @cached_property
    def learned(self) -> Dataset:
        """What candidates are calibrated on that `held_out` decides between."""
        if not self._is_all:
            return self.chosen
        inside = len(self.chosen)
        return self._between(0, inside - inside // HELD_SHARE) if inside > 1 else self.chosen

    @cached_property
    def held_out(self) -> Dataset:
        """Training images that `learned` has none of; a lone image is both."""
        if not self._is_all:
            return self._between(self.count, self.count + HELD_OUT)
        inside = len(self.chosen)
        if inside < HELD_SHARE:
            return self.chosen
        return self._between(inside - inside // HELD_SHARE, inside)

    @cached_property
    def all(self) -> Dataset:
        """What is looked at in any way."""
        return self._between(0, self.count if self._is_all else self.count + HELD_OUT)

    def parts(self) -> Iterator[Dataset]:
        """From the first image on, each part as many as all before, up to `MOST` together."""
        start, end, last = 0, FEWEST, min(MOST, len(self.dataset))
        while start < last:
            yield self.dataset.subset(sorted(self._order[start : min(end, last)]))
            start, end = end, 2 * end

    def record(self) -> dict[str, Any]:
        """How many, which (64 hex digits of what is in them), and how many of each class."""
        chosen, classes = self.chosen, self.dataset.classes
        counts = {name: int((chosen.labels == place).sum()) for place, name in enumerate(classes)}
        return {
            "calibration_images": len(chosen),
            "calibration_digest": content_fingerprint(chosen),
            "calibration_classes": counts,
        }

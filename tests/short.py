"""Measurements and proofs that are over soon: most tests ask what is told, not how long it took.

The figures are of real runs, of fewer of them. A model's own process, which imports all anew, is in
`tests/device/measure/test_fresh_process.py`, and in whatever begins a new Python itself. Charts are
drawn in `tests/report`, and where the fixture `drawn_charts` is.
"""

from __future__ import annotations

import pickle
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from edgeresnet.device.measure import (
    compare,
    fresh_process,
    interleaving,
    latency,
    layers,
    peak,
    presets,
)
from edgeresnet.device.session import ModelSource
from edgeresnet.host.export import export_bundle, mutants, proof_images
from edgeresnet.report.page import bars, charts, front_charts

# On which the exports of tests are proven; all 256 are in test_logit_proof.py.
PROOF_IMAGES = 32
# As they are when nothing is shortened.
OwnProcess = fresh_process.FreshModel
draw = charts.svg_of
# Each has it by this name.
DRAWING = (bars, charts, front_charts)


class ThisProcess(OwnProcess):
    """A `FreshModel` whose process is this one; what it is told goes the same way, in bytes."""

    def __init__(self, source: ModelSource, batch: int = 1) -> None:
        self._opened = ExitStack()
        sent: ModelSource = pickle.loads(pickle.dumps(source))
        try:
            self._worker = fresh_process._Worker(self._opened, sent, batch)
        except BaseException:
            self._opened.close()
            raise
        self.pid = None
        self.load_ms = self._worker.opened["load_ms"]
        self.first_ms = self._worker.opened["first_ms"]

    def _ask(self, what: str, *arguments: Any) -> Any:
        return getattr(self._worker, what)(*arguments)

    def close(self) -> None:
        """The session's end."""
        self._opened.close()


def undrawn(figure: object, name: str, title: str) -> str:
    """A page's element of a figure that is made, and not drawn, which takes half of its time."""
    return f'<svg role="img" aria-label="{title}"></svg>'


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Fewer runs, and no other process, wherever times are taken; fewer images where is proven."""
    for module in DRAWING:
        patch.setattr(module, "svg_of", undrawn)
    patch.setattr(proof_images, "PROOF_IMAGES", PROOF_IMAGES)
    # Golden images are chosen by the few damaged networks that take no time.
    patch.setattr(mutants, "MOST_MACS", 0.0)
    patch.setattr(mutants, "MOST_MUTANTS", 40)
    patch.setattr(export_bundle, "CANDIDATES", 8)
    patch.setitem(presets.DURATIONS, "quick", presets.Duration(30, 0.05, 20.0))
    patch.setitem(presets.DURATIONS, "default", presets.Duration(50, 0.1, 60.0))
    # On a busy machine times are never steady, and the warm-up takes all it may.
    patch.setattr(latency, "MOST_WARMUP_S", 0.2)
    patch.setattr(interleaving, "warm_up", partial(latency.warm_up, max_seconds=0.2))
    patch.setattr(interleaving, "BLOCK_S", 0.02)
    # Pauses, and copies that fill caches: so long only for the figure that comes of them.
    patch.setattr(latency, "IDLE_S", 0.02)
    patch.setattr(latency, "COPIED_MIB", 8)
    patch.setattr(latency, "LEAST_MIB", 4)
    patch.setattr(peak, "SECONDS", 0.05)
    patch.setattr(layers, "WARMUP", 2)
    patch.setattr(layers, "RUNS", 12)
    patch.setattr(presets, "COLD_RUNS", 5)
    patch.setattr(compare, "COLD_RUNS", 5)
    patch.setattr(compare, "FreshModel", ThisProcess)

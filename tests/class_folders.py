"""Image folders whose images show their class as brightness, and models that read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeresnet.device.session import Opened
from edgeresnet.settings.inputs import InputSpec
from tests.fakes import FakeSession, opened

SPEC = InputSpec(8)


def write_classes(root: Path, images: Mapping[str, tuple[int, int]]) -> Path:
    """``root/FOLDER/N.png``: for each folder (which class its images show, how many)."""
    for folder, (shown, count) in images.items():
        (root / folder).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (shown * 20,) * 3).save(root / folder / f"{i}.png")
    return root


def reader_of(
    classes: Sequence[str] | None, *, outputs: int = 10, data: str | None = None, name: str = "m"
) -> Opened:
    """A model whose output ``i`` answers to images that show class ``i``."""

    def answer(batch: np.ndarray) -> np.ndarray:
        value = (batch[:, 0, 0, 0] * SPEC.std[0] + SPEC.mean[0]) * 255
        return np.eye(outputs)[np.rint(value / 20).astype(int).clip(0, outputs - 1)]

    session = FakeSession(answer, classes=outputs)
    return replace(
        opened(name, session, SPEC), classes=None if classes is None else tuple(classes), data=data
    )


def opens(monkeypatch: pytest.MonkeyPatch, *models: Opened) -> None:
    """Let ``evaluate`` and ``compare`` open these, one after the other, whatever the path."""
    waiting = iter(models)

    @contextmanager
    def open_model(*args: Any, **options: Any) -> Iterator[Opened]:
        yield next(waiting)

    for module in ("evaluate", "compare"):
        monkeypatch.setattr(f"edgeresnet.api.{module}.open_model", open_model)

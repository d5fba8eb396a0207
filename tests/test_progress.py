"""What training tells while it runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgeresnet import progress
from edgeresnet.progress import TrainProgress, duration


@pytest.mark.parametrize("terminal", [True, False])
def test_train_progress_shows_the_figures_when_steps_are_done(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120)
    with TrainProgress(2, 100, console=console) as reporter:
        reporter.start_epoch(0, 50)
        reporter.step(25, 0.5, 1.25, 0.75)
    for part in ("epoch 1/2", "75%", "loss 1.2500", "top-1 0.7500", "50 images/s", "left"):
        assert part in text.getvalue()


def test_train_progress_counts_the_whole_rest_when_estimating(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("edgeresnet.progress.time.monotonic", lambda: now[0])
    with TrainProgress(3, 100, enabled=False) as reporter:
        reporter.start_epoch(1, 50)
        now[0] = 10.0
        reporter.step(50, 8.0, 1.0, 0.5)
    # 100 images are left at 5 images a second, validation included.
    assert reporter.seconds_left() == pytest.approx(20.0)
    assert reporter.images_per_second() == pytest.approx(6.25)


@pytest.mark.parametrize(
    ("seconds", "text"), [(45.4, "45 s"), (720, "12 min"), (11100, "3 h 05 min")]
)
def test_duration_uses_the_fitting_unit_when_time_grows(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_log_counts_images_or_what_else_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY_S", 0.0)
    shown = io.StringIO()
    with progress.images_progress("reading", 9, console=Console(file=shown)) as done:
        done(4)
    with progress.images_progress(
        "rounding", 2, console=Console(file=shown), what="blocks"
    ) as done:
        done(1)
        done(1)
    told = ["reading  4/9 images", "rounding  1/2 blocks", "rounding  2/2 blocks"]
    assert shown.getvalue().splitlines() == told

"""What long work is given, and how it reports on stderr: a bar on a terminal, or plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Self

from edgeresnet.closing import Closing
from edgeresnet.untrusted import visible

if TYPE_CHECKING:
    # Loaded only by what draws: the command line imports this module too.
    from rich.console import Console
    from rich.progress import Progress

LOG_EVERY_S = 30.0
# Told in one plain line what is being done.
OnStep = Callable[[str], object]


# Told figures by their names: of which part of the work, and behind which step or epoch of it.
OnFigures = Callable[[str, int, Mapping[str, float]], object]


def silent(text: str) -> None:
    """An `OnStep` that tells nobody."""


def unseen(part: str, place: int, figures: Mapping[str, float]) -> None:
    """An `OnFigures` that tells nobody."""


@dataclass(frozen=True)
class TaskContext:
    """What every long task is given beside its settings.

    Attributes:
        data: DATA SPEC; None: the one that the checkpoint remembers.
        limit: images of each split at most; None takes all.
        skip_broken: leave unreadable images out, and say how many.
        class_order: ``sorted`` or ``natural``: how the class folders of a model without class names
            were put in order; None: nobody says.
        classes_path: file of the model's class names, in the order of its outputs.
        progress: show on stderr how far long work is.
        on_step: told in one line what is being done.
        on_figures: told loss, accuracy and learning rate of each step and epoch of a training, and
            the figures of each rung of a quantization.
        resume_path: what an interrupted task goes on from, a file or a folder; None: nothing. Who
            gives it removes it when the result is safe.
    """

    data: str | None = None
    limit: int | None = None
    skip_broken: bool = False
    class_order: str | None = None
    classes_path: Path | None = None
    progress: bool = False
    on_step: OnStep = silent
    on_figures: OnFigures = unseen
    resume_path: Path | None = None


def second_resume_path(path: Path) -> Path:
    """Where a task's second training is gone on from, when its first one is done."""
    return path.with_stem(f"{path.stem}-2")


class TrainProgress(Closing):
    """Reports steps and epochs; a context manager.

    Args:
        epochs: how many there will be.
        images: in one epoch.
        enabled: False says nothing at all.
        console: None for stderr.
        figure: what the share of right answers is called.
    """

    def __init__(
        self,
        epochs: int,
        images: int,
        *,
        enabled: bool = True,
        console: Console | None = None,
        figure: str = "top-1",
    ) -> None:
        from rich.console import Console
        from rich.progress import TaskID

        self._epochs, self._images, self._figure = epochs, images, figure
        self._console = (console or Console(stderr=True)) if enabled else None
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._started = self._last_line = time.monotonic()
        # Images and seconds of training steps since the start, validation left out.
        self._trained, self._busy_s = 0, 0.0
        self._planned: int | None = None
        self._epoch, self._images_done = 0, 0

    def __enter__(self) -> Self:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        if self._console is not None and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self._console,
                redirect_stdout=False,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self._images, figures="")
        return self

    def close(self) -> None:
        """Give back what is held."""
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """One line, above the bar where there is one."""
        if self._console is not None:
            self._console.print(
                visible(text, kept=""), markup=False, highlight=False, soft_wrap=True
            )

    def start_epoch(self, epoch: int, images_done: int) -> None:
        """Epoch ``epoch`` (from 0) begins, or goes on behind ``images_done``."""
        self._epoch, self._images_done = epoch, images_done
        if self._planned is None:
            self._planned = (self._epochs - epoch) * self._images - images_done
        if self._bar is not None:
            self._bar.reset(self._task, total=self._images, completed=images_done, figures="")
            self._bar.update(self._task, description=self._title())

    def step(self, images: int, seconds: float, loss: float, top1: float) -> None:
        """A step of ``images`` took ``seconds``; loss and share are the epoch's so far."""
        self._trained += images
        self._busy_s += seconds
        self._images_done += images
        if self._console is None:
            return
        figures = (
            f"loss {loss:.4f}  {self._figure} {top1:.4f}  {self.images_per_second():.0f} images/s  "
            f"{duration(self.seconds_left())} left"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=self._images_done, figures=figures)
        elif time.monotonic() - self._last_line >= LOG_EVERY_S:
            share = self._images_done / self._images
            self.say(f"{self._title()}  {share:.0%}  {figures}")
            self._last_line = time.monotonic()

    def end_epoch(self, text: str) -> None:
        """One line on the finished epoch."""
        self.say(f"{self._title()}  {text}")
        self._last_line = time.monotonic()

    def images_per_second(self) -> float:
        """Speed of the training steps since the start."""
        return self._trained / self._busy_s if self._busy_s else 0.0

    def seconds_left(self) -> float:
        """Estimate for all epochs, validation included."""
        if not self._trained or self._planned is None:
            return 0.0
        elapsed_s = time.monotonic() - self._started
        return elapsed_s / self._trained * (self._planned - self._trained)

    def _title(self) -> str:
        return f"epoch {self._epoch + 1}/{self._epochs}"


def duration(seconds: float) -> str:
    """As people say it: ``45 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


@contextmanager
def images_progress(
    title: str,
    total: int,
    *,
    enabled: bool = True,
    console: Console | None = None,
    what: str = "images",
) -> Iterator[Callable[[int], None]]:
    """Reports how many of ``total`` images are done: a bar, or a line every 30 s; on stderr.

    Args:
        title: what is being done with them.
        total: how many there are.
        enabled: False says nothing at all.
        console: to write on.
        what: is counted, where it is not images.

    Yields:
        A function to call with the number of images just done.
    """
    if not enabled:
        yield lambda images: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = console or Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn(title), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, redirect_stdout=False, transient=True) as bar:
            task = bar.add_task("", total=total)
            yield lambda images: bar.advance(task, images)
        return
    done, last = 0, time.monotonic()

    def advance(images: int) -> None:
        nonlocal done, last
        done += images
        if time.monotonic() - last >= LOG_EVERY_S:
            console.print(f"{title}  {done}/{total} {what}", markup=False, highlight=False)
            last = time.monotonic()

    yield advance

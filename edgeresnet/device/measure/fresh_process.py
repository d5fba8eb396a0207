"""A model in a process of its own, as the device will have it.

A process that has trained or pruned before times a small network up to a tenth slower: its heap,
its threads and its share of the caches are not those of one that only runs the network. And of
two runtimes in one process each finds the cores taken by the other's threads.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from edgeresnet.closing import Interrupted, end_with, ending_on_signals, is_ending, leave
from edgeresnet.device.measure.interleaving import Here
from edgeresnet.device.measure.latency import Latency, measure
from edgeresnet.device.session import ModelSource
from edgeresnet.device.targets.failures import mendable
from edgeresnet.device.targets.noise import noise
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import CheckError, EdgeResNetError, InputError, MissingError
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from numpy.typing import NDArray

MIN_SECONDS = 1.0
CLOSING_S, ENDING_S = 10.0, 1.0
ERRORS: dict[str, type[EdgeResNetError]] = {
    kind.__name__: kind for kind in (EdgeResNetError, InputError, MissingError, CheckError)
}


class FreshModel:
    """A model that a new Python process opens, and that is timed there until it is closed.

    The process is made by ``multiprocessing``: a script that measures with it begins its own work
    under ``if __name__ == "__main__":``.

    Args:
        source: the model.
        batch: inputs in a run.

    Raises:
        EdgeResNetError: what opening the model raises; or the process ended.
    """

    def __init__(self, source: ModelSource, batch: int = 1) -> None:
        context = multiprocessing.get_context("spawn")
        self._name = source.path.name
        self._line, far_line = context.Pipe()
        self._process = context.Process(target=_serve, args=(far_line, source, batch), daemon=True)
        self._process.start()
        far_line.close()
        try:
            opened = self._answer()
        except BaseException:
            self.close()
            raise
        self.pid = self._process.pid
        self.load_ms: float | None = opened["load_ms"]
        self.first_ms: float | None = opened["first_ms"]

    def warm_up(self) -> list[float]:
        """Run until the times are steady."""
        answer: list[float] = self._ask("warm_up")
        return answer

    def block(self, runs: int) -> list[float]:
        """Milliseconds of each of so many runs in a row."""
        answer: list[float] = self._ask("block", runs)
        return answer

    def cold(self, runs: int) -> NDArray[np.float64] | None:
        """Milliseconds of runs with empty caches; None unless the model runs on the processor."""
        answer: NDArray[np.float64] | None = self._ask("cold", runs)
        return answer

    def peak_memory_mib(self) -> float | None:
        """Largest resident memory of that process so far."""
        answer: float | None = self._ask("peak_memory_mib")
        return answer

    def measure(self, min_seconds: float) -> Latency:
        """`edgeresnet.device.measure.latency.measure` on noise."""
        answer: Latency = self._ask("measure", min_seconds)
        return answer

    def _ask(self, what: str, *arguments: Any) -> Any:
        self._line.send((what, arguments))
        return self._answer()

    def _answer(self) -> Any:
        try:
            kind, value = self._line.recv()
        except (EOFError, ConnectionError) as error:
            self._process.join(CLOSING_S)
            raise MissingError(
                f"the process that was to time {self._name} ended with exit code "
                f"{self._process.exitcode}",
                "see whether memory ran out; a script of your own must do its work under "
                'if __name__ == "__main__":.',
            ) from error
        if kind in ERRORS:
            raise ERRORS[kind](*value)
        if kind == "bug":
            raise RuntimeError(f"in the process that times {self._name}:\n{value}")
        return value

    def close(self) -> None:
        """End the process."""
        self._line.close()
        self._process.join(0 if is_ending() else CLOSING_S)
        if self._process.is_alive():
            # It removes its temporary folders.
            self._process.terminate()
            self._process.join(ENDING_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def fresh_p50_ms(path: Path, target: str, device: str, threads: int | None = None) -> float:
    """Median milliseconds of one image of noise through a model, loaded by a new Python.

    Args:
        path: what the target loads.
        target: name.
        device: of the target.
        threads: None leaves the choice to the runtime.

    Raises:
        EdgeResNetError: the model does not load there, or the process ended.
    """
    options = RunOptions(threads=threads, precision="fp32")
    with closing(FreshModel(ModelSource(path, device, options, target=target))) as model:
        return model.measure(MIN_SECONDS).percentile_ms(50)


def _serve(line: Connection, source: ModelSource, batch: int) -> None:
    """Open the model, say so, and answer until the other end is closed."""
    # An interrupt at the terminal goes to both processes; the other one closes the line then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(partial(_end, line))
    try:
        with ending_on_signals(lambda end: None), ExitStack() as stack:
            worker = _Worker(stack, source, batch)
            line.send(("opened", worker.opened))
            while True:
                what, arguments = line.recv()
                line.send(("done", getattr(worker, what)(*arguments)))
    except (EOFError, ConnectionError):
        sys.exit(0)
    except Interrupted as end:
        leave(end, lambda end: None)
    except Exception as error:
        told = mendable(error)
        if told is None:
            line.send(("bug", traceback.format_exc()))
        else:
            line.send((type(told).__name__, (told.cause, told.fix)))


def _end(line: Connection, error: Exception) -> NoReturn:
    """Tell the other process what this one would have raised, were it not in native code."""
    assert isinstance(error, EdgeResNetError)
    line.send((type(error).__name__, (error.cause, error.fix)))
    os._exit(error.exit_code)


class _Worker(Here):
    """The other process of a `FreshModel`: opens the model and runs it."""

    def __init__(self, stack: ExitStack, source: ModelSource, batch: int) -> None:
        if source.opener is not None:
            model = stack.enter_context(
                source.opener(
                    source.path,
                    device=source.device,
                    options=source.options,
                    image_size=source.image_size,
                    inputs=source.inputs,
                )
            )
            self._session, self._device = model.session, model.device
            self.opened = {"load_ms": model.load_ms, "first_ms": model.first_ms}
            pixels = model.embed_preprocess
        else:
            target = target_of(str(source.target))
            self._device = source.device or target.spec.default_device
            opening = target.load(source.path, self._device, source.options)
            self._session = stack.enter_context(opening)
            self.opened = {"load_ms": None, "first_ms": None}
            pixels = False
        self._images = noise(self._session, batch, pixels=pixels)
        super().__init__(lambda: self._session.run(self._images))

    def cold(self, runs: int) -> NDArray[np.float64] | None:
        """Caches of the processor say nothing about another device."""
        return super().cold(runs) if self._device == "cpu" else None

    def measure(self, min_seconds: float) -> Latency:
        """The model alone, without turns."""
        return measure(self._session, self._images, min_seconds=min_seconds)

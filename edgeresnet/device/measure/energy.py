"""What an inference costs in energy: a meter, sampled in a thread, and its integral."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from typing_extensions import Self

from edgeresnet.device.machine.power_sensors import Meter

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_EVERY_S = 0.01
# Runtimes spin for a while after a run; the idle power is read when they sleep.
SETTLE_S = 0.5


class Recorder:
    """Samples a meter in a thread for as long as the context lasts."""

    def __init__(self, meter: Meter, every_s: float = SAMPLE_EVERY_S) -> None:
        self._meter, self._every_s = meter, every_s
        self._times_s: list[float] = []
        self._values: list[float] = []
        self._begun, self._stop = threading.Event(), threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._sample, daemon=True, name="power")

    def __enter__(self) -> Self:
        self._thread.start()
        # Whatever the work does now lies between two samples.
        self._begun.wait()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None and exc is None:
            raise self._failure

    def _sample(self) -> None:
        try:
            while True:
                # Read before looking at the flag: the last sample is from after the work.
                stopping = self._stop.wait(self._every_s if self._times_s else 0.0)
                before = time.perf_counter()
                value = self._meter.read()
                self._times_s.append((before + time.perf_counter()) / 2)
                self._values.append(value)
                self._begun.set()
                if stopping:
                    break
        except OSError as error:
            self._failure = error
        finally:
            self._begun.set()

    def energy_j(self, start_s: float, end_s: float) -> float:
        """Energy between two moments of ``time.perf_counter``; see `integrate_j`."""
        times, values = np.array(self._times_s), np.array(self._values)
        return integrate_j(times, values, self._meter.kind, start_s, end_s)

    @property
    def samples(self) -> int:
        """Readings so far."""
        return len(self._values)


def integrate_j(
    times_s: NDArray[np.float64],
    values: NDArray[np.float64],
    kind: Literal["power", "energy"],
    start_s: float,
    end_s: float,
) -> float:
    """Energy in J that a meter saw from ``start_s`` to ``end_s``.

    Power is integrated by the trapezoidal rule, a counter is subtracted; both are interpolated
    linearly at the ends, which seldom fall on a sample.

    Args:
        times_s: (n,) ascending.
        values: (n,) W or J.
        kind: which of them.
        start_s: not before the first sample.
        end_s: not after the last.
    """
    if kind == "energy":
        first, last = np.interp([start_s, end_s], times_s, values)
        return float(last - first)
    inside = times_s[(times_s > start_s) & (times_s < end_s)]
    moments = np.concatenate([[start_s], inside, [end_s]])
    power_w = np.interp(moments, times_s, values)
    return float(np.diff(moments) @ (power_w[1:] + power_w[:-1]) / 2)


@dataclass(frozen=True)
class Energy:
    """Power and energy that runs of a model took.

    Attributes:
        power_w: mean while running, idle included.
        idle_power_w: mean before, with the model loaded.
        energy_mj: of one input, above idle.
        energy_with_idle_mj: of one input, all that the meter saw.
        power_samples: readings while running.
        power_sensor: which meter, which rails.
    """

    power_w: float
    idle_power_w: float
    energy_mj: float
    energy_with_idle_mj: float
    power_samples: int
    power_sensor: str

    def to_dict(self) -> dict[str, Any]:
        """The figures of the JSON contract.

        ``images_per_joule`` is None where the runs took no more than idling, as a slow sensor of a
        small network may see it.
        """
        above = self.energy_mj > 0
        return {**vars(self), "images_per_joule": 1e3 / self.energy_mj if above else None}


def measure_energy(
    run: Callable[[], object],
    meter: Meter,
    *,
    batch: int = 1,
    seconds: float = 3.0,
    idle_seconds: float = 2.0,
    settle_seconds: float = SETTLE_S,
) -> Energy:
    """Energy of one input: the meter while running, less the meter while idle.

    Apart from the measurement of latency, which the sampling thread would disturb.

    Args:
        run: one run of ``batch`` inputs; warm.
        meter: what to read.
        batch: inputs in a run.
        seconds: run for so long at least.
        idle_seconds: watch the idle machine for so long.
        settle_seconds: wait before that.

    Raises:
        OSError: the meter stopped answering.
    """
    time.sleep(settle_seconds)
    idle_j, idle_s, _ = _watched(meter, lambda: time.sleep(idle_seconds))
    runs = 0

    def work() -> None:
        nonlocal runs
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds:
            run()
            runs += 1

    busy_j, busy_s, samples = _watched(meter, work)
    idle_w = idle_j / idle_s
    inputs = runs * batch
    return Energy(
        busy_j / busy_s,
        idle_w,
        (busy_j - idle_w * busy_s) / inputs * 1e3,
        busy_j / inputs * 1e3,
        samples,
        meter.name,
    )


def _watched(meter: Meter, work: Callable[[], object]) -> tuple[float, float, int]:
    """Energy in J that the meter saw while ``work`` ran, its seconds, and the readings."""
    with Recorder(meter) as recorder:
        start = time.perf_counter()
        work()
        end = time.perf_counter()
    return recorder.energy_j(start, end), end - start, recorder.samples

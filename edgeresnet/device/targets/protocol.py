"""What every target offers, and nothing that one of them needs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from typing_extensions import Self

from edgeresnet.device.targets.spec import TargetSpec
from edgeresnet.settings.export import BuildOptions
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST_BATCH = 2**31 - 1


@dataclass(frozen=True)
class Availability:
    """Whether a target runs here; if not, why, and the command that mends it."""

    usable: bool
    version: str | None = None
    reason: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class Device:
    """One piece of hardware that a target can run on, e.g. ``Device("cpu", "AMD EPYC")``."""

    name: str
    description: str
    capabilities: tuple[str, ...] = ()
    emulated: bool = False


@dataclass(frozen=True)
class Missing:
    """A device that is in this machine and does not run yet: why, and what mends it."""

    name: str
    reason: str
    fix: str


@dataclass(frozen=True)
class Kernel:
    """One executed operation, as the loaded model has it.

    Attributes:
        op: the runtime's name for its kind.
        precision: what it computes in.
        unit: where: ``cpu``, ``gpu``, ``dla``, ``npu``.
        layers: ONNX nodes of the exported graph that went into it.
    """

    op: str
    precision: str
    unit: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class LayerProfile:
    """One executed layer, as the runtime's own profiler reports it.

    Attributes:
        name: the runtime's.
        op: the runtime's name for its kind.
        precision: what it computes in.
        unit: where.
        time_ms: median.
        times_ms: of each run that counts, in order.
        role: what it does, see `edgeresnet.device.targets.executed.Role`; empty where the runtime
            does not say what became of the model's nodes.
        nodes: those of the model file that went into it, in the file's order.
        before: of a kernel that the runtime added, the node that takes what it makes; None where
            that is the model's output.
        behind: of such a kernel, the node whose result it takes; None where that is the input.
    """

    name: str
    op: str
    precision: str
    unit: str
    time_ms: float
    times_ms: tuple[float, ...] = ()
    role: str = ""
    nodes: tuple[str, ...] = ()
    before: str | None = None
    behind: str | None = None


def layer_profiles(
    times_ms: Mapping[tuple[str, str, str, str], Sequence[float]], runs: int
) -> list[LayerProfile]:
    """What a session has to tell of its layers.

    Args:
        times_ms: for name, operator, precision and unit of a layer the time of each run, in order.
        runs: how many of the last ones count.
    """
    return [
        LayerProfile(*layer, statistics.median(times[-runs:]), tuple(times[-runs:]))
        for layer, times in times_ms.items()
    ]


class Session(Protocol):
    """A loaded model: a context manager whose ``run`` returns only when the device has finished."""

    @property
    def emulated(self) -> bool:
        """Whether this is a stand-in for the device: its logits count, its time says nothing."""
        ...

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """Smallest and largest batch that ``run`` takes."""
        ...

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(3, H, W), or (H, W, 3) when preprocessing is inside."""
        ...

    @property
    def input_dtype(self) -> str:
        """What the model takes: ``uint8`` is pixels, ``float16`` is converted to by ``run``."""
        ...

    @property
    def classes(self) -> int | None:
        """How many logits an image gets; None where only a run tells."""
        ...

    def run(self, batch: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits (N, classes) of one batch.

        Args:
            batch: (N, 3, H, W) float32, or (N, H, W, 3) uint8 when preprocessing is inside.
        """
        ...

    def layers(self, runs: int) -> list[LayerProfile]:
        """Each layer's median time in the last ``runs`` runs; may be called once.

        Needs ``RunOptions(profile_layers=True)``. Runs before the last ones, the cold first one
        and those of a golden check, are left out.
        """
        ...

    def kernels(self) -> list[Kernel]:
        """What the runtime executes and where; may run one input to find out."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class QueuesRuns(Protocol):
    """A session whose runtime keeps several runs under way by a queue of its own."""

    def queue_runs(
        self, batch: NDArray[np.float32] | NDArray[np.uint8], concurrency: int, seconds: float
    ) -> tuple[list[float], float]:
        """Keep so many runs under way, starting new ones for so long.

        Returns:
            Milliseconds of each run from its start to its end, by the order of their ends; and the
            seconds from the first start to the last end.
        """
        ...


@runtime_checkable
class RunsFromThreads(Protocol):
    """A session whose ``run`` several threads may call at once."""

    runs_from_threads: Literal[True]


@runtime_checkable
class PhaseTimes(Protocol):
    """A session that knows the phases of a run on a device of its own."""

    def phase_times_ms(self) -> dict[str, float]:
        """Median milliseconds so far: ``h2d_ms``, ``compute_ms``, ``d2h_ms``, ``enqueue_ms``."""
        ...


class Target(Protocol):
    """One runtime: its facts, and what it does."""

    @property
    def spec(self) -> TargetSpec:
        """All that is read of it elsewhere."""
        ...

    def knows_device(self, name: str) -> bool:
        """Whether there is such a device on any machine; more than `TargetSpec.devices` names."""
        ...

    def available(self) -> Availability:
        """Usable here? If not: why, and what mends it."""
        ...

    def devices(self) -> list[Device]:
        """The hardware that this runtime finds here; empty when it is not available."""
        ...

    def missing(self) -> list[Missing]:
        """Devices of this machine that lack something to run on."""
        ...

    def load(self, model_path: Path, device: str, options: RunOptions) -> Session:
        """Open a model file on a device.

        Raises:
            MissingError: the runtime or the device is not here.
            InputError: the runtime cannot read the file.
        """
        ...

    def save_engine(
        self, model_path: Path, device: str, engine_dir: Path, options: BuildOptions
    ) -> Path | None:
        """Keep what the runtime compiles for the device; None if it compiles when it loads."""
        ...


@runtime_checkable
class EngineKernels(Protocol):
    """A target that `TargetSpec.builds_ahead`, and tells what its engine executes."""

    def engine_kernels(self, model_path: Path, layers: Mapping[str, str]) -> list[Kernel] | None:
        """The kernels of the engine that was built beside a model; None if there is none.

        Args:
            model_path: as exported, with the folder ``engines`` beside it.
            layers: name and ONNX operator of each layer that must run in integers.
        """
        ...


@runtime_checkable
class MeasuresOutside(Protocol):
    """A target with a program that measures where no session can be opened."""

    def measures_outside(self) -> bool:
        """Whether that is so here: the program is, and what a session needs is not."""
        ...

    def measure_outside(
        self,
        model_path: Path,
        device: str,
        options: RunOptions,
        input_shape: tuple[int, int, int],
    ) -> dict[str, Any]:
        """Figures of a bundle's model, as ``profile`` has them; None for what is not told.

        Args:
            model_path: of the bundle.
            device: where to run.
            options: how it runs; without a batch the smallest that the model takes.
            input_shape: of one input.

        Raises:
            InputError: the model does not take the batch, or does not run on the device.
            MissingError: its engine is not here, or the times of layers are asked for.
            CheckError: the program fails.
        """
        ...


ENGINES = "engines"
EXAMPLE = "example.py"

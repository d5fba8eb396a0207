"""The targets a bundle can be made for, and what each must offer."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import Self

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edgeresnet.bundle import Bundle


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


@dataclass(frozen=True)
class LayerProfile:
    """One executed layer, as the runtime's own profiler reports it."""

    name: str
    op: str
    precision: str
    unit: str
    time_ms: float


@dataclass(frozen=True)
class RunOptions:
    """How a session runs: ``threads`` None leaves the choice to the runtime; ``batch`` is N."""

    threads: int | None = None
    batch: int | None = None
    profile_layers: bool = False


class Session(Protocol):
    """A loaded model: a context manager whose ``run`` returns only when the device has finished."""

    @property
    def batch_sizes(self) -> tuple[int, int]:
        """Smallest and largest batch that ``run`` takes."""
        ...

    def run(self, batch: NDArray[np.float32 | np.uint8]) -> NDArray[np.float32]:
        """(N, 3, H, W) float32, or (N, H, W, 3) uint8 with embedded preprocessing, to (N, classes)."""
        ...

    def layers(self) -> list[LayerProfile]:
        """Per-layer times of the last runs; needs ``RunOptions(profile_layers=True)``."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

"""How models are run, measured and judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from edgeresnet.settings.faults import SettingFaults

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class CompareSettings:
    """How the bundles are measured.

    Attributes:
        device: the hardware they run on; None: each target's usual one.
        threads: None leaves the choice to the runtime.
        rounds: timed runs of each bundle.
        limit: validation images; None takes all.
    """

    device: str | None = None
    threads: Count | None = None
    rounds: Annotated[int, Field(ge=2)] = 200
    limit: Count | None = None


@dataclass(frozen=True)
class Budgets:
    """Limits that the candidates must keep; None sets none.

    Attributes:
        max_drop: top-1 that may be lost against the baseline, absolute, in [0, 1].
        max_p99_ms: 99th percentile of latency.
        min_speedup: times faster than the row's own reference.
        strict: a budget that its interval leaves undecided counts as missed.
    """

    max_drop: float | None = None
    max_p99_ms: float | None = None
    min_speedup: float | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        faults = SettingFaults()
        faults.share("max_drop", self.max_drop)
        for name in ("max_p99_ms", "min_speedup"):
            limit = getattr(self, name)
            right = limit is None or 0 < limit < float("inf")
            faults.unless(right, f"{name} {limit} is not positive", f"give {name} above 0.")
        faults.raise_any()

    def given(self) -> list[str]:
        """Names of the limits that are set."""
        names = ("max_drop", "max_p99_ms", "min_speedup")
        return [name for name in names if getattr(self, name) is not None]


@dataclass(frozen=True)
class RunOptions:
    """How a session runs.

    Attributes:
        threads: None leaves the choice to the runtime.
        batch: fix an open batch dimension to this N.
        profile_layers: let the runtime time its layers, which slows it down.
        precision: what the floats are computed in, where the runtime chooses: fp32, fp16, bf16.
        as_written: run every operator of the file by itself, fusing none: slow, and what other
            runtimes' answers are held against.
        cuda_graph: launch the whole network at once, where the runtime has CUDA graphs.
        spin_wait: wait for a GPU by polling: answers sooner and keeps a core busy.
        allow_fallback: the CPU may run what the device cannot.
    """

    threads: int | None = None
    batch: int | None = None
    profile_layers: bool = False
    precision: str | None = None
    as_written: bool = False
    cuda_graph: bool = True
    spin_wait: bool = False
    allow_fallback: bool = False

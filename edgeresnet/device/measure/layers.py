"""Where the time of a run goes: each layer by its own name, with its share, work and rate."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.session import Opened
from edgeresnet.device.targets.executed import FileNode, TellsGraph
from edgeresnet.device.targets.model_files import is_model_file, reader_of
from edgeresnet.device.targets.protocol import LayerProfile

if TYPE_CHECKING:
    from numpy.typing import NDArray

WARMUP, RUNS, KEPT = 10, 60, 5
# What a kernel does that the runtime added.
ADDED = {"layout": "layout change", "quantize": "quantize", "dequantize": "dequantize"}
NUMBERED, OPERATOR = re.compile(r"[._]\d+$"), re.compile(r"^[A-Z]\w*$")


@dataclass(frozen=True)
class TimedLayers:
    """The layers of a model, all timed in the same runs.

    Attributes:
        profiles: ``time_ms`` is the mean of those of the runs that nothing disturbed.
        run_ms: mean of how long these runs took as a whole, with the profiler on.
        macs: multiply-accumulates of each of the model's layers for one image; of a model that
            does not tell them, none.
        widths: output channels of each, likewise.
        batch: images in a run.
        target: whose runtime it was.
        device: where it ran.
        threads: given to it; None: its own choice.
        nodes: of the model file, where the runtime says what became of them.
    """

    profiles: tuple[LayerProfile, ...]
    run_ms: float
    macs: Mapping[str, int]
    widths: Mapping[str, int]
    batch: int
    target: str
    device: str
    threads: int | None = None
    nodes: tuple[FileNode, ...] = ()

    @property
    def sum_ms(self) -> float:
        """Of all layers; the rest of a run is between them."""
        return sum(layer.time_ms for layer in self.profiles)

    def macs_of(self, layer: LayerProfile) -> int:
        """Multiply-accumulates of one run of a layer, with all that is fused in it."""
        names = layer.nodes or (layer.name,)
        return self.batch * sum(self.macs.get(name, 0) for name in names)


def time_layers(
    opened: Opened, images: NDArray[Any], path: Path, *, threads: int | None = None
) -> TimedLayers:
    """Run a model whose session profiles, and say what each layer took.

    The few runs count that were the fastest as a whole, each with all its layers: a median of each
    layer alone would be of another run for every layer, and their sum of none. Of a runtime that
    tells only the mean of its runs all count.

    Args:
        opened: with `RunOptions.profile_layers`.
        images: one batch.
        path: of the model, to ask a bare file for its layers.
        threads: that it was opened with.

    Raises:
        InputError: there are no times of layers of this kind of model.
        MissingError: nor on this device.
    """
    elapsed_ms = []
    for _ in range(WARMUP + RUNS):
        start = time.perf_counter_ns()
        opened.session.run(images)
        elapsed_ms.append((time.perf_counter_ns() - start) / 1e6)
    layers = opened.layers or _layers_of_file(path, opened.input_spec.image_size)
    session = opened.session
    profiles, run_ms = calmest(session.layers(RUNS), elapsed_ms[-RUNS:])
    return TimedLayers(
        tuple(profiles),
        run_ms,
        {layer["name"]: int(layer["macs"]) for layer in layers if layer["macs"] is not None},
        {layer["name"]: int(layer["out_channels"]) for layer in layers if layer["out_channels"]},
        len(images),
        opened.target,
        opened.device,
        threads,
        session.graph.nodes if isinstance(session, TellsGraph) else (),
    )


def calmest(
    profiles: Sequence[LayerProfile], run_ms: Sequence[float], kept: int = KEPT
) -> tuple[list[LayerProfile], float]:
    """Profiles by the mean of the fastest runs, and the mean of these runs.

    Args:
        profiles: whose ``times_ms`` are of these runs. Where a runtime tells only means, as
            OpenVINO does, all runs count.
        run_ms: how long each run took.
        kept: how many runs count.
    """
    if any(len(layer.times_ms) != len(run_ms) for layer in profiles):
        return [*profiles], float(np.mean(np.asarray(run_ms)))
    fastest = np.argsort(np.asarray(run_ms), kind="stable")[:kept]
    means = [
        _with_time(layer, float(np.mean(np.asarray(layer.times_ms)[fastest]))) for layer in profiles
    ]
    return means, float(np.mean(np.asarray(run_ms)[fastest]))


def _with_time(layer: LayerProfile, time_ms: float) -> LayerProfile:
    return replace(layer, time_ms=time_ms)


def _layers_of_file(path: Path, image_size: int) -> Iterable[Mapping[str, Any]]:
    """{name, macs, out_channels, …} that a bare model file tells."""
    if not is_model_file(path):
        return ()
    return reader_of(path)[1].describe(path, image_size).layers


def layer_rows(timed: TimedLayers, peaks: Mapping[str, float]) -> list[dict[str, Any]]:
    """The JSON contract of each layer of ``profile --layers``, in the order in which they run.

    Args:
        timed: what was measured.
        peaks: the device's peak in each precision, in GMAC/s; of one that is not there no share of
            it is told.
    """
    total = timed.sum_ms or 1.0
    rows = []
    for layer in timed.profiles:
        macs = timed.macs_of(layer)
        rate = macs / layer.time_ms / 1e6 if macs and layer.time_ms else None
        peak = peaks.get(layer.precision)
        rows.append(
            {
                "name": layer_name(layer),
                "op": layer.op,
                "precision": layer.precision,
                "unit": layer.unit,
                "time_ms": layer.time_ms,
                "share": layer.time_ms / total,
                "macs": macs or None,
                "gmacs_per_s": rate,
                "peak_share": rate / peak if rate and peak else None,
                "nodes": list(layer.nodes),
                "kernel": layer.name,
            }
        )
    return rows


def layer_name(layer: LayerProfile) -> str:
    """What a person calls a kernel: the layer, and what is fused into it.

    As ``layer1.0.conv2 + add + relu``, or ``layout change before conv1`` of what the runtime added.
    What a runtime does not trace back keeps the runtime's name.
    """
    if layer.nodes:
        first, *others = layer.nodes
        return " + ".join([own_name(first), *map(_last_part, others)])
    what = ADDED.get(layer.role, layer.op.lower())
    if layer.before is not None:
        return f"{what} before {own_name(layer.before)}"
    return layer.name if layer.behind is None else f"{what} after {own_name(layer.behind)}"


def own_name(node: str) -> str:
    """A layer's name in the network, from that of its node.

    PyTorch's older exporter writes ``/layer1/layer1.0/conv1/Conv`` of ``layer1.0.conv1``.
    """
    if not node.startswith("/"):
        return node
    parts = [part for part in node.split("/") if part]
    if len(parts) > 1 and OPERATOR.match(parts[-1]):
        parts.pop()
    names: list[str] = []
    for part in parts:
        # A container is told once by itself, and once with the number inside it.
        if names and part.startswith(f"{names[-1]}."):
            names.pop()
        names.append(part)
    return ".".join(names) or node


def _last_part(node: str) -> str:
    last = NUMBERED.sub("", node).replace("/", ".").rsplit(".", 1)[-1]
    return last.lower() or node

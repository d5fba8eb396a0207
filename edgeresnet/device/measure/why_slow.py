"""What a runtime executes, held against the ideal graph of a ResNet: where milliseconds are lost.

Ideal is: every convolution one kernel, in integers where the network is quantized, with what
follows it inside; widths that fill the kernels; and a change of layout or type only where the image
comes in and the answer goes out.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from edgeresnet.device.machine.width_steps import width_step
from edgeresnet.device.measure.layers import ADDED, TimedLayers, layer_name, own_name
from edgeresnet.device.targets.executed import CARRIERS, MULTIPLY, FileNode
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.device.targets.protocol import LayerProfile
from edgeresnet.device.targets.registry import TARGETS

# What stands between a layer and what uses its result, and changes nothing that a grid is for.
PASSED = ("relu", "view", "pool", "layout", "other")
EXPORT = "edgeresnet export CHECKPOINT --target {target}{int8} -o BUNDLE"
COMMANDS = {
    "layout change": EXPORT,
    "type change": EXPORT,
    "unfused add": EXPORT,
    "unfused activation": EXPORT,
    "missing Q/DQ": EXPORT,
    "float layer": "edgeresnet quantize CHECKPOINT --data DATA -o INT8.pt, and export that",
    "unaligned width": "edgeresnet prune CHECKPOINT --data DATA --macs 0.5 --step {step} -o PRUNED",
}


@dataclass
class Loss:
    """One departure from the ideal graph.

    Attributes:
        kind: a key of `COMMANDS`.
        layer: where, by the network's own name.
        why: what is found there.
        lost_ms: of a run; what the layer itself would need in the ideal graph is subtracted.
        nodes: the nodes that it slows down; kernels that the runtime adds beside these are its.
        own: those of the layer itself.
    """

    kind: str
    layer: str
    why: str
    lost_ms: float = 0.0
    nodes: set[str] = field(default_factory=set)
    own: set[str] = field(default_factory=set)


def losses(timed: TimedLayers) -> list[Loss]:
    """Every departure of the executed graph from the ideal one, the most expensive first.

    Args:
        timed: layers, and the nodes of their file.
    """
    return _Comparison(timed).losses()


def loss_rows(timed: TimedLayers) -> list[dict[str, Any]]:
    """The JSON contract of ``why_slow``, with the command that would win each loss back."""
    quantized = any(node.role == "quantize" for node in timed.nodes)
    words = {
        "target": timed.target,
        "int8": " --int8" if quantized else "",
        "step": width_step(timed.target, timed.device),
    }
    return [
        {
            "kind": loss.kind, "layer": loss.layer, "why": loss.why, "lost_ms": loss.lost_ms,
            "command": COMMANDS[loss.kind].format(**words),
        }
        for loss in losses(timed)
    ]  # fmt: skip


class _Comparison:
    def __init__(self, timed: TimedLayers) -> None:
        self._timed = timed
        self._by_name = {node.name: node for node in timed.nodes}
        self._users: dict[str, list[FileNode]] = {}
        for node in timed.nodes:
            for name in node.inputs:
                self._users.setdefault(name, []).append(node)
        self._kernels = {name: layer for layer in timed.profiles for name in layer.nodes}
        self._quantized = any(node.role == "quantize" for node in timed.nodes)
        self._inner = self._between_convolutions()

    def losses(self) -> list[Loss]:
        """In the order of cost; of one place, the cause and not what follows from it."""
        found = [*self._without_grids(), *self._float_layers()]
        found += self._widths()
        self._give_away(found)
        found += self._apart(found)
        found += self._conversions(found)
        return sorted(found, key=lambda loss: -loss.lost_ms)

    def _between_convolutions(self) -> list[LayerProfile]:
        """All from the first convolution to the last: what is outside are the network's ends."""
        profiles = self._timed.profiles
        places = [at for at, layer in enumerate(profiles) if layer.role == "convolution"]
        return list(profiles[places[0] : places[-1] + 1]) if places else []

    def _multiply(self) -> Iterator[tuple[FileNode, LayerProfile]]:
        for node in self._timed.nodes:
            if node.role in MULTIPLY and node.name in self._kernels:
                yield node, self._kernels[node.name]

    def _without_grids(self) -> Iterator[Loss]:
        """Layers of a quantized network that are stored in integers, with no grid behind them."""
        if not self._quantized:
            return
        for node, kernel in self._multiply():
            users = list(self._readers(node.name))
            bare = [user for user in users if user.role in ("add", *MULTIPLY)]
            if node.role == "convolution" and node.integer_weights and bare:
                where = " and ".join(dict.fromkeys(own_name(user.name) for user in bare))
                # A convolution without its grid runs in float, and the add behind it with it.
                nodes = self._with_adds([node.name, *(user.name for user in bare)])
                why = f"none between it and {where}"
                yield Loss(
                    "missing Q/DQ", own_name(node.name), why, nodes=nodes, own={*kernel.nodes}
                )

    def _with_adds(self, names: Iterable[str]) -> set[str]:
        """Nodes, the adds behind them, and what is in the same kernels."""
        nodes = {*names}
        nodes |= {add for name in names for add in self._adds_behind(name)}
        kernels = [self._kernels[name] for name in nodes if name in self._kernels]
        return nodes.union(*(kernel.nodes for kernel in kernels))

    def _adds_behind(self, name: str) -> Iterator[str]:
        """The adds that take a result, past what only carries it."""
        for user in self._users.get(name, ()):
            if user.role == "add":
                yield user.name
            elif user.role in (*CARRIERS, "relu"):
                yield from self._adds_behind(user.name)

    def _readers(self, name: str) -> Iterator[FileNode]:
        """What takes a result, past what changes nothing that a grid is for."""
        for user in self._users.get(name, ()):
            if user.role in PASSED:
                yield from self._readers(user.name)
            else:
                yield user

    def _float_layers(self) -> Iterator[Loss]:
        """Convolutions of a quantized network whose file has them in float, and the classifier."""
        if not self._quantized:
            return
        for node, kernel in self._multiply():
            if is_quantized(kernel.precision) or node.integer_weights:
                continue
            why = f"its weights are floats, among integers, and it runs in {kernel.precision}"
            nodes = self._with_adds(kernel.nodes)
            yield Loss("float layer", own_name(node.name), why, nodes=nodes, own={*kernel.nodes})

    def _widths(self) -> Iterator[Loss]:
        step = width_step(self._timed.target, self._timed.device)
        for node, kernel in self._multiply():
            width = self._timed.widths.get(node.name)
            if node.role == "convolution" and width and width % step:
                why = f"{width} channels, no multiple of {step}"
                nodes = {*kernel.nodes}
                yield Loss("unaligned width", own_name(node.name), why, nodes=nodes, own={*nodes})

    def _give_away(self, found: list[Loss]) -> None:
        """Each loss gets the time of its layers over what they need, and of what stands beside.

        Of the layers around it those count that it makes run in float; and each layer once.
        """
        for layer in self._timed.profiles:
            names = {*layer.nodes}
            of_itself = [loss for loss in found if loss.own & names]
            slowed = [loss for loss in found if loss.nodes & names]
            causes = of_itself or ([] if is_quantized(layer.precision) else slowed)
            if causes:
                causes[0].lost_ms += max(0.0, layer.time_ms - self._ideal_ms(layer))
        for layer in self._inner:
            cause = _beside(layer, found) if layer.role in ADDED else None
            if cause is not None:
                cause.lost_ms += layer.time_ms

    def _ideal_ms(self, layer: LayerProfile) -> float:
        """What a layer needs at the usual rate of convolutions, in integers if there are any."""
        macs = self._timed.macs_of(layer)
        if not macs:
            return self._usual_ms(layer)
        step = width_step(self._timed.target, self._timed.device)
        rates: dict[bool, list[float]] = {True: [], False: []}
        for node, kernel in self._multiply():
            work = self._timed.macs_of(kernel)
            if node.role == "convolution" and work and kernel.time_ms > 0:
                aligned = not self._timed.widths.get(node.name, 0) % step
                if self._quantized == is_quantized(kernel.precision):
                    rates[aligned].append(work / kernel.time_ms)
        usual = rates[True] or rates[False]
        return macs / statistics.median(usual) if usual else layer.time_ms

    def _usual_ms(self, layer: LayerProfile) -> float:
        """The median of the kernels that do the same in integers; 0 where none does."""
        times = [
            other.time_ms
            for other in self._timed.profiles
            if other.role == layer.role and is_quantized(other.precision)
        ]
        return statistics.median(times) if times else 0.0

    def _apart(self, found: list[Loss]) -> list[Loss]:
        """Adds and activations that are kernels of their own, where the runtime can fuse them."""
        apart = TARGETS[self._timed.target].spec.adds_integers_apart
        own: list[Loss] = []
        for layer in self._inner:
            if layer.role not in ("add", "relu", "other") or not layer.nodes:
                continue
            roles = {self._by_name[name].role for name in layer.nodes}
            if "pool" in roles or (apart and "add" in roles and is_quantized(layer.precision)):
                continue
            makers = list(self._makers(layer.nodes[0]))
            cause = next((loss for loss in [*found, *own] if loss.nodes & {*makers}), None)
            if any(loss.nodes & {*layer.nodes} for loss in found):
                continue
            if cause is not None:
                cause.lost_ms += layer.time_ms
                cause.nodes |= {*layer.nodes}
                continue
            kind = "unfused add" if "add" in roles else "unfused activation"
            behind = " and ".join(map(own_name, makers)) or "the input"
            why = f"a kernel of its own ({layer.op}) behind {behind}"
            own.append(Loss(kind, own_name(layer.nodes[0]), why, layer.time_ms, {*layer.nodes}))
        return own

    def _makers(self, name: str) -> Iterator[str]:
        """The nodes whose results one takes, past what only carries them."""
        for given in self._by_name[name].inputs:
            if self._by_name[given].role in CARRIERS:
                yield from self._makers(given)
            else:
                yield given

    def _conversions(self, found: list[Loss]) -> Iterator[Loss]:
        """Kernels between the convolutions that the runtime added for no loss that is known."""
        for layer in self._inner:
            if layer.role not in ADDED or layer.nodes or _beside(layer, found):
                continue
            kind = "layout change" if layer.role == "layout" else "type change"
            ends = [own_name(name) for name in (layer.behind, layer.before) if name is not None]
            yield Loss(
                kind, ends[-1] if ends else layer_name(layer),
                f"{layer.op} between {' and '.join(ends)}", layer.time_ms,
            )  # fmt: skip


def _beside(layer: LayerProfile, found: Iterable[Loss]) -> Loss | None:
    """The loss that a kernel which the runtime added stands beside."""
    ends = {layer.before, layer.behind} - {None}
    return next((loss for loss in found if ends & loss.nodes), None)

"""Mixed precision: the fewest layers in float with which a quantized network keeps its budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeresnet.host.models.float_layers import Wiring
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.validation import EvaluationSet
from edgeresnet.host.parallel.processes import processes
from edgeresnet.host.quantization.embedding_reference import EmbeddingReference
from edgeresnet.host.quantization.reference import Reference
from edgeresnet.host.quantization.sensitivity import Study
from edgeresnet.host.training.step import training_device
from edgeresnet.progress import OnStep, silent

# Of the layers, in float: with more of them it is no integer network any more.
MOST_SHARE = 0.5


@dataclass(frozen=True)
class MixedResult:
    """What was found.

    Attributes:
        float_layers: in the order in which they run; the model has them in float now.
        figures: of the model as it is now, as `Reference.figures` gives them, with ``float_layers``
            ``networks_tried`` and ``sensitivities``: of each ranked layer the divergence, in
            nats (of embeddings one minus the cosine), where only it is quantized; empty where no
            layer had to be float.
        kept: whether these keep the budgets.
    """

    float_layers: tuple[str, ...]
    figures: dict[str, Any]
    kept: bool


def mixed_precision(
    model: QuantResNet,
    reference: Reference | EmbeddingReference,
    keeps: Callable[[Mapping[str, Any]], bool],
    images: EvaluationSet,
    *,
    most_share: float = MOST_SHARE,
    on_step: OnStep = silent,
) -> MixedResult:
    """Keep the fewest layers in float that keep the budgets; in place.

    Layers are taken by their sensitivity, the worst first, each with those that its input can
    leave its grid with (`float_group`); as many as are needed are found by bisection. Then those
    that are not needed are given back, the least sensitive first.

    Args:
        model: calibrated and folded, on the CPU. Left with the layers that were found in float:
            its ``float_layers`` belong into the checkpoint.
        reference: the float network's answers on the images that the budgets are decided on.
        keeps: whether such figures keep the budgets.
        images: to find the sensitivities with; a few hundred of those it was calibrated on do.
        most_share: of the layers that may become float, [0, 1].
        on_step: told in one line what is being done.

    Returns:
        The network with the fewest layers in float that keeps the budgets; where none does, the
        one with most of them.

    Raises:
        CheckError: logits are not finite.
    """
    before = model.float_layers
    search = _Search(model, reference, keeps, before)
    if search.keeps(()):
        return search.result(())
    on_step(f"mixed precision: sensitivities of {len(model.wiring.layers)} layers")
    # What all go by: on a GPU another process might find the same but for rounding.
    search.sensitivities = processes().by_first(lambda: _sensitivities(model, images))
    ranked = [*search.sensitivities]
    groups = [group for layer in ranked if (group := float_group(model.wiring, layer))]
    most = max(1, int(most_share * len(ranked)))
    prefixes = _prefixes(groups, most)
    if not prefixes or not search.keeps(prefixes[-1]):
        return search.result(prefixes[-1] if prefixes else ())
    low, high = 0, len(prefixes) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if search.keeps(prefixes[middle]) else (middle + 1, high)
    found = search.without_unneeded(prefixes[high], ranked)
    on_step(f"mixed precision: {', '.join(model.wiring.in_order(found))} in float")
    return search.result(found)


def float_group(wiring: Wiring, layer: str) -> tuple[str, ...]:
    """A layer, with the layers that must be float so that its input is on no grid.

    That input may be what is hard to quantize: an outlying channel that another layer writes.

    Args:
        wiring: of the network.
        layer: its name.
    """
    grid = next(grid for grid in wiring.grids if layer in grid.readers)
    joined = {f"{block.name}.add": block.last for block in wiring.blocks}
    operators = [*grid.readers, *([grid.writer] if grid.writer else [])]
    return wiring.in_order([layer, *(joined.get(one, one) for one in operators)])


def _sensitivities(model: QuantResNet, images: EvaluationSet) -> dict[str, float]:
    device = training_device()
    try:
        return Study(model.to(device).eval(), images).ranked()
    finally:
        model.cpu()


def _prefixes(groups: Sequence[Sequence[str]], most: int) -> list[frozenset[str]]:
    """The first group, the first two together, …; each with more layers than the one before."""
    prefixes: list[frozenset[str]] = []
    taken: frozenset[str] = frozenset()
    for group in groups:
        larger = taken.union(group)
        if len(larger) > most:
            break
        if larger != taken:
            prefixes.append(larger)
        taken = larger
    return prefixes


class _Search:
    """Networks that were tried, each once."""

    def __init__(
        self,
        model: QuantResNet,
        reference: Reference | EmbeddingReference,
        keeps: Callable[[Mapping[str, Any]], bool],
        always: Sequence[str],
    ) -> None:
        self._model, self._reference, self._keeps = model, reference, keeps
        self._always = frozenset(always)
        self._tried: dict[frozenset[str], dict[str, Any]] = {}
        self.sensitivities: dict[str, float] = {}

    def _figures(self, layers: frozenset[str]) -> dict[str, Any]:
        self._model.keep_in_float(layers)
        if layers not in self._tried:
            self._tried[layers] = self._reference.figures(self._model)
        return self._tried[layers]

    def keeps(self, layers: Sequence[str] | frozenset[str]) -> bool:
        """Whether the network with these layers in float, and those from before, keeps it all."""
        return self._keeps(self._figures(self._always.union(layers)))

    def without_unneeded(self, layers: frozenset[str], ranked: Sequence[str]) -> frozenset[str]:
        """Give back, the least sensitive first, every layer that the budgets do not need."""
        for layer in reversed(ranked):
            if layer in layers and layer not in self._always:
                fewer = layers - {layer}
                layers = fewer if self.keeps(fewer) else layers
        return layers

    def result(self, layers: Sequence[str] | frozenset[str]) -> MixedResult:
        """What there is to say of that network, which the model then is."""
        figures = dict(self._figures(self._always.union(layers)))
        found = self._model.float_layers
        figures |= {
            "float_layers": list(found),
            "networks_tried": len(self._tried),
            "sensitivities": self.sensitivities,
        }
        return MixedResult(found, figures, self._keeps(figures))

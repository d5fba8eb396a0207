"""What a network is scored, renormalized and judged on while it is pruned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeresnet.device.data.dataset import Dataset, balanced_subset, is_labelled
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.headless import has_head
from edgeresnet.host.models.pixels import Normalizer, load_pixels
from edgeresnet.host.models.validation import EvaluationSet, evaluate
from edgeresnet.host.parallel.processes import processes
from edgeresnet.host.pruning.criteria import Evidence
from edgeresnet.host.quantization.distances import neighbours
from edgeresnet.host.training.step import training_device

SCORING_BATCH = 64


@dataclass(frozen=True, eq=False)
class Bench:
    """What a network is scored and judged on."""

    train_set: Dataset
    scoring: Tensor
    labels: Tensor
    validation: EvaluationSet
    normalize: Normalizer
    device: torch.device
    labelled: bool

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, train_set: Dataset, val_set: Dataset, n: int, seed: int
    ) -> Bench:
        device = training_device()
        chosen = balanced_subset(train_set, n, seed)
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(chosen)))
        labels = torch.from_numpy(np.asarray(chosen.labels, np.int64))
        spec = checkpoint.input_spec
        return cls(
            train_set,
            load_pixels(chosen, spec)[order],
            labels[order],
            EvaluationSet(val_set, spec, shared=True),
            Normalizer(spec, device),
            device,
            is_labelled(val_set),
        )

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (n, 3, H, W) float32 and labels, on the device: this process's, by turns."""
        group = processes()
        for place in range(group.rank, self._batches, group.count):
            part = slice(place * SCORING_BATCH, (place + 1) * SCORING_BATCH)
            yield (
                self.normalize(self.scoring[part].to(self.device)),
                self.labels[part].to(self.device),
            )

    def top1(self, model: nn.Module) -> float | None:
        """Of the validation images; without a classifier of their nearest neighbours.

        None where they have no labels.
        """
        if not self.labelled:
            return None
        logits = evaluate(model.to(self.device), self.validation, self.device)
        labels = self.validation.labels
        answers = logits.argmax(1) if has_head(model) else neighbours(logits, labels)
        return float((answers == labels).mean())

    def evidence(self, checkpoint: Checkpoint, seed: int, *, gradients: bool) -> Evidence:
        """What the criteria look at."""
        gates: dict[str, Tensor] = {}
        if gradients:
            own = gate_gradients(checkpoint.build().to(self.device), self.batches())
            gates = {name: _of_all(rows, self._batches) for name, rows in own.items()}
        return Evidence(checkpoint.state_dict, gates, seed)

    def renormalized(self, checkpoint: Checkpoint) -> Checkpoint:
        """With the statistics that its narrower layers really have."""
        return processes().by_first(lambda: self._renormalized(checkpoint))

    def _renormalized(self, checkpoint: Checkpoint) -> Checkpoint:
        model = checkpoint.build().to(self.device)
        images = (images for images, _ in self.batches())
        torch.optim.swa_utils.update_bn(images, model, self.device)
        return replace(checkpoint, state_dict=weights_of(model))

    def weight_scores(self, model: nn.Module) -> dict[str, Tensor]:
        """Squared first-order change of the loss for each kernel's and matrix's weights.

        Summed over batches; on the CPU, in the weights' shapes. ``model`` is put into eval mode.
        """
        model.eval().requires_grad_(True)
        weights = {name: p for name, p in model.named_parameters() if p.ndim in (2, 4)}
        scores = {name: torch.zeros_like(weight, device="cpu") for name, weight in weights.items()}
        for images, labels in self.batches():
            loss = nn.functional.cross_entropy(model(images), labels)
            gradients = torch.autograd.grad(loss, list(weights.values()))
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                scores[name] += (gradient * weight).detach().square().cpu()
        return {name: processes().total(score) for name, score in scores.items()}

    @property
    def _batches(self) -> int:
        return -(-len(self.scoring) // SCORING_BATCH)


def _of_all(rows: Tensor, batches: int) -> Tensor:
    """(batches, channels) of all processes' batches in order, of the rows of this one's."""
    group = processes()
    whole = torch.zeros(batches, rows.shape[1])
    whole[group.rank :: group.count] = rows
    return group.total(whole)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict, on the CPU."""
    return {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}


def gate_gradients(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """What a gate of 1, multiplied onto each normalization's output, would have for a gradient.

    A gate scales both of a normalization's parameters, so its gradient is that of the scale times
    the scale, plus that of the offset times the offset.

    Args:
        model: a float ResNet; put into eval mode. Its frozen parameters count like all others and
            are frozen again afterwards.
        batches: images (n, 3, H, W) float32 and labels (n,) int64, on the model's device.

    Returns:
        For each batch normalization's name (batches, channels) float32 on the CPU.

    Raises:
        InputError: there was no image.
    """
    norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    frozen = [p for p in model.parameters() if not p.requires_grad]
    gates: defaultdict[str, list[Tensor]] = defaultdict(list)
    model.eval().requires_grad_(True)
    try:
        for images, labels in batches:
            loss = F.cross_entropy(model(images), labels)
            parameters = [p for norm in norms.values() for p in (norm.weight, norm.bias)]
            gradients = torch.autograd.grad(loss, parameters)
            for i, (name, norm) in enumerate(norms.items()):
                scale, offset = gradients[2 * i], gradients[2 * i + 1]
                gates[name].append((scale * norm.weight + offset * norm.bias).detach().cpu())
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
    if not gates and processes().count == 1:
        raise InputError("pruning saw no image", "give --data at least one image.")
    # Of several processes one may have had no batch.
    none = {name: torch.empty(0, len(norm.weight)) for name, norm in norms.items()}
    return {name: torch.stack(gates[name]) if gates[name] else none[name] for name in norms}

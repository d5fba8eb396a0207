"""What a network is scored, renormalized and judged on while it is pruned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from edgeresnet.augment import Normalizer, load_pixels
from edgeresnet.checkpoint import Checkpoint
from edgeresnet.dataset import Dataset, balanced_subset
from edgeresnet.evaluation import EvaluationSet, evaluate
from edgeresnet.loop import training_device
from edgeresnet.prune.criteria import Evidence
from edgeresnet.prune.gradients import gate_gradients

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
            EvaluationSet(val_set, spec),
            Normalizer(spec, device),
            device,
        )

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (n, 3, H, W) float32 and labels, on the device."""
        pixel_parts = torch.split(self.scoring, SCORING_BATCH)
        label_parts = torch.split(self.labels, SCORING_BATCH)
        for pixels, labels in zip(pixel_parts, label_parts, strict=True):
            yield self.normalize(pixels.to(self.device)), labels.to(self.device)

    def top1(self, model: nn.Module) -> float:
        """Of the validation images."""
        logits = evaluate(model.to(self.device), self.validation, self.device)
        return float((logits.argmax(1) == self.validation.labels).mean())

    def evidence(self, checkpoint: Checkpoint, seed: int, *, gradients: bool) -> Evidence:
        """What the criteria look at."""
        gates: dict[str, Tensor] = {}
        if gradients:
            gates = gate_gradients(checkpoint.build().to(self.device), self.batches())
        return Evidence(checkpoint.state_dict, gates, seed)

    def renormalized(self, checkpoint: Checkpoint) -> Checkpoint:
        """With the statistics that its narrower layers really have."""
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
        return scores


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict, on the CPU."""
    return {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}

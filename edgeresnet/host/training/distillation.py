"""What a network in training learns from another one: its answers, and what its levels give."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeresnet.errors import InputError
from edgeresnet.host.models.headless import has_head
from edgeresnet.host.models.resnet import LEVELS


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """KL divergence of the softened distributions, times temperature squared.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2.

    Args:
        logits: (n, classes) float32 of the student.
        teacher_logits: (n, classes) float32.
        temperature: 1 or more; larger is softer.
    """
    own = F.log_softmax(logits / temperature, 1)
    wanted = F.log_softmax(teacher_logits / temperature, 1)
    return F.kl_div(own, wanted, reduction="batchmean", log_target=True) * temperature**2


def feature_loss(features: list[Tensor], teacher_features: list[Tensor]) -> Tensor:
    """Squared error over the teacher's energy, as a mean over levels; 0 where all are equal.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", 2015, equation 3, at each level and
    without its regressor, since both networks have the same channels. Over the energy, so that
    levels of large and of small numbers weigh alike.

    Args:
        features: (n, channels, H, W), or (n, channels), of the student, one for each level.
        teacher_features: likewise, of the same shapes.

    Raises:
        InputError: the networks have other channels.
    """
    terms = []
    for own, wanted in zip(features, teacher_features, strict=True):
        if own.shape != wanted.shape:
            raise InputError(
                f"the teacher has {wanted.shape[1]} channels where the network in training has "
                f"{own.shape[1]}: their features cannot be compared",
                "set distill_features to 0; distill learns the answers.",
            )
        own, wanted = own.float(), wanted.float()
        energy = wanted.square().mean().clamp_min(torch.finfo(torch.float32).tiny)
        terms.append((own - wanted).square().mean() / energy)
    return torch.stack(terms).mean()


class Teacher:
    """A network to learn from.

    Args:
        model: the teacher; put into eval mode, on the device of the student.
        temperature: of `distillation_loss`.
        features: weight of `feature_loss` beside it; 0: the levels are not looked at.
    """

    def __init__(self, model: nn.Module, temperature: float, features: float) -> None:
        self._model = model.eval()
        self._temperature, self._features = temperature, features
        self._headless = not has_head(model)
        self._own: list[Tensor] = []

    @contextlib.contextmanager
    def watching(self, student: nn.Module) -> Iterator[None]:
        """What the student's levels give inside of this is what `loss` compares."""
        with self._outputs_of(student) as self._own:
            yield

    def loss(self, logits: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's term of the loss, and its answers.

        Without classifiers the student learns the teacher's embedding, by `feature_loss`, and an
        answer is the largest channel of that.

        Args:
            logits: (n, classes) float32 of the student, or (n, channels) embeddings, from a forward
                pass under `watching`.
            images: (n, 3, H, W) the same.

        Returns:
            A 0-D loss, and (n,) int64 classes.
        """
        with torch.no_grad(), self._outputs_of(self._model) as wanted:
            teacher_logits = self._model(images)
        if self._headless:
            loss = feature_loss([logits], [teacher_logits])
        else:
            loss = distillation_loss(logits, teacher_logits.float(), self._temperature)
        if self._features > 0:
            loss = loss + self._features * feature_loss(self._own, wanted)
        self._own = []  # holds the graph of the step
        return loss, teacher_logits.argmax(1)

    @contextlib.contextmanager
    def _outputs_of(self, model: nn.Module) -> Iterator[list[Tensor]]:
        """Each level's output in the order of the levels; hooks end with this."""
        outputs: list[Tensor] = []
        levels = [model.get_submodule(name) for name in LEVELS] if self._features > 0 else []
        # Not for good: a moving average copies its network with the hooks on it.
        hooks = [
            level.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
            for level in levels
        ]
        try:
            yield outputs
        finally:
            for hook in hooks:
                hook.remove()

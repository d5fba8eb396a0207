"""What a PyTorch network answers on a data set, in float32 and without augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from edgeresnet.device.data.dataset import Dataset, batches
from edgeresnet.host.models.pixels import Normalizer, fits_in_memory, load_pixels
from edgeresnet.host.models.torch_threads import within_quota
from edgeresnet.settings.inputs import InputSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREDICT_BATCH = 256


class EvaluationSet:
    """A set for evaluation, in order: kept in memory where it fits, else decoded every time.

    Args:
        dataset: images.
        spec: how an image becomes an input.
        keep: whether to keep them in memory; None: where they fit.
    """

    def __init__(self, dataset: Dataset, spec: InputSpec, *, keep: bool | None = None) -> None:
        self._dataset, self.spec = dataset, spec
        self.labels = np.asarray(dataset.labels, np.int64)
        keep = fits_in_memory(dataset, spec) if keep is None else keep
        self._kept = load_pixels(dataset, spec) if keep else None

    def read(self, batch_size: int) -> Iterator[Tensor]:
        """(n, N, N, 3) uint8."""
        if self._kept is not None:
            yield from torch.split(self._kept, batch_size)
            return
        for pixels, _ in batches(self._dataset, self.spec, batch_size, raw=True):
            yield torch.from_numpy(pixels)


def evaluate(
    model: nn.Module, images: EvaluationSet, device: torch.device, batch_size: int = PREDICT_BATCH
) -> NDArray[np.float32]:
    """Logits (n, classes) float32, computed in float32; the model's mode is left as it was."""
    normalize = Normalizer(images.spec, device)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            parts = [model(normalize(p.to(device))).cpu() for p in images.read(batch_size)]
    finally:
        model.train(was_training)
    logits: NDArray[np.float32] = torch.cat(parts).float().numpy()
    return logits


@within_quota()
def predict_logits(
    model: nn.Module, dataset: Dataset, spec: InputSpec, *, batch_size: int = PREDICT_BATCH
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Evaluate in float32, on the model's device, without augmentation.

    Args:
        model: left in the mode it was in.
        dataset: read in order.
        spec: how an image becomes an input.
        batch_size: images at a time.

    Returns:
        Logits (n, classes) float32 and labels (n,) int64.
    """
    device = next(model.parameters()).device
    images = EvaluationSet(dataset, spec)
    return evaluate(model, images, device, batch_size), images.labels

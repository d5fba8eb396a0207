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
from edgeresnet.host.parallel.processes import own_places, processes
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
        shared: of several processes each reads its own batches of `PREDICT_BATCH` images, and
            `evaluate`, which all call, puts the answers together.

    Attributes:
        labels: (n,) int64, of all images.
        own: places of those that this process reads, in order; None: it reads all.
        count: of the processes that share it.
    """

    def __init__(
        self,
        dataset: Dataset,
        spec: InputSpec,
        *,
        keep: bool | None = None,
        shared: bool = False,
    ) -> None:
        self.spec, group = spec, processes()
        self.labels = np.asarray(dataset.labels, np.int64)
        keep = fits_in_memory(dataset, spec) if keep is None else keep
        self.own: list[int] | None = None
        self.count = group.count
        if shared and group.count > 1:
            self.own = own_places(len(dataset), PREDICT_BATCH, of=group)
            dataset = dataset.subset(self.own)
        self._dataset = dataset
        self._kept = load_pixels(dataset, spec) if keep and len(dataset) else None

    def read(self, batch_size: int) -> Iterator[Tensor]:
        """(n, N, N, 3) uint8, of those that this process reads."""
        if self._kept is not None:
            yield from torch.split(self._kept, batch_size)
            return
        for pixels, _ in batches(self._dataset, self.spec, batch_size, raw=True):
            yield torch.from_numpy(pixels)


def evaluate(
    model: nn.Module, images: EvaluationSet, device: torch.device, batch_size: int = PREDICT_BATCH
) -> NDArray[np.float32]:
    """Logits (n, classes) float32, computed in float32; the model's mode is left as it was.

    Of a shared set those of all images, whichever process has read them.
    """
    normalize = Normalizer(images.spec, device)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            parts = [model(normalize(p.to(device))).cpu() for p in images.read(batch_size)]
    finally:
        model.train(was_training)
    answers = torch.cat(parts).float() if parts else torch.empty(0, 0)
    logits: NDArray[np.float32] = _of_all(answers, images).numpy()
    return logits


def _of_all(answers: Tensor, images: EvaluationSet) -> Tensor:
    """(n, classes) of all images, each answered by one process, of the answers of this one."""
    if images.own is None:
        return answers
    if processes().count != images.count:
        raise RuntimeError("a shared set was asked by other processes than those that share it")
    # One that has no image does not know how many classes there are.
    classes = int(processes().largest(torch.tensor([answers.shape[1]]))[0])
    whole = torch.zeros(len(images.labels), classes)
    whole[images.own] = answers if images.own else torch.empty(0, classes)
    return processes().total(whole)


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
    images = EvaluationSet(dataset, spec, shared=batch_size == PREDICT_BATCH)
    return evaluate(model, images, device, batch_size), images.labels

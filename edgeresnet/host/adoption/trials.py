"""What a network answers if it was trained in this way or that: computed once, and kept."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from edgeresnet.device.data.dataset import Dataset
from edgeresnet.device.data.preprocess import in_order
from edgeresnet.host.adoption.adoptee import Adoptee
from edgeresnet.host.adoption.space import Candidate
from edgeresnet.host.models.pixels import load_pixels
from edgeresnet.settings.inputs import InputSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.host.adoption.adoptee import Network

KEPT_BYTES = 1 << 30
# Small enough that what a network passes from layer to layer stays in a processor's cache.
BATCH = 16


class Trials:
    """Logits of candidates on the first images of a data set.

    Args:
        dataset: in an order in which the first images are as good as any.
        adoptee: gives the network of each candidate; asked once for each.
    """

    def __init__(self, dataset: Dataset, adoptee: Adoptee) -> None:
        self.labels = np.asarray(dataset.labels, np.int64)
        self.images_run = 0
        self._dataset, self._adoptee = dataset, adoptee
        self._space = adoptee.space
        self._networks: dict[tuple[str, str, str], Network] = {}
        self._pixels: OrderedDict[InputSpec, Tensor] = OrderedDict()
        self._logits: dict[Candidate, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    def logits(self, candidate: Candidate, n: int) -> NDArray[np.float32]:
        """(n, classes) float32 of the first ``n`` images."""
        done = self._logits.get(candidate)
        have = 0 if done is None else len(done)
        if have < n:
            new = self._run(candidate, have, n)
            done = new if done is None else np.concatenate([done, new])
            self._logits[candidate] = done
        assert done is not None
        return done[:n]

    @property
    def candidates(self) -> int:
        """How many were tried."""
        return len(self._logits)

    def _run(self, candidate: Candidate, start: int, stop: int) -> NDArray[np.float32]:
        spec = self._space.spec(candidate)
        pixels, network = self._read(spec, stop), self._network(candidate)
        parts = []
        for at in range(start, stop, BATCH):
            part = pixels[at : min(at + BATCH, stop)].numpy()
            parts.append(network(in_order(part, spec), spec))
        self.images_run += stop - start
        return np.concatenate(parts)

    def _network(self, candidate: Candidate) -> Network:
        key = (candidate.weights, candidate.stem, candidate.stride_in)
        if key not in self._networks:
            self._networks[key] = self._adoptee.network(candidate)
        return self._networks[key]

    def _read(self, spec: InputSpec, n: int) -> Tensor:
        """(n, N, N, 3) uint8 in RGB or grey; whatever else differs is made of these."""
        usual = InputSpec()
        key = replace(spec, mean=usual.mean, std=usual.std)
        if spec.channels == "bgr":
            key = replace(key, channels="rgb")
        have = self._pixels.pop(key, None)
        if have is None or len(have) < n:
            start = 0 if have is None else len(have)
            new = load_pixels(self._dataset.subset(range(start, n)), key)
            have = new if have is None else torch.cat([have, new])
        self._pixels[key] = have
        while len(self._pixels) > 1 and sum(map(Tensor.numel, self._pixels.values())) > KEPT_BYTES:
            self._pixels.popitem(last=False)
        return have

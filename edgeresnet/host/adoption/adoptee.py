"""What is adopted: a network that answers as if it had been trained in this way or that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch

from edgeresnet.device.data.preprocess import to_input
from edgeresnet.device.session import Opened
from edgeresnet.device.targets.classifier import channels_last
from edgeresnet.device.targets.padding import run_padded
from edgeresnet.host.adoption.space import Candidate, Space
from edgeresnet.host.adoption.spaces import bare_space, checkpoint_space
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.folded import folded
from edgeresnet.host.models.pixels import Normalizer
from edgeresnet.settings.inputs import InputChanges, InputSpec
from edgeresnet.settings.network import NetworkTold

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    # (n, N, N, 3) uint8 in the order of the network's channels to (n, classes) float32.
    Network = Callable[["NDArray[np.uint8]", InputSpec], "NDArray[np.float32]"]


class Adoptee(Protocol):
    """Somebody else's network, and all that it may have been trained as.

    Attributes:
        title: what to call it in a message.
        outputs: how many logits it gives.
        classes: their names, where they are known.
        space: of the candidates.
    """

    @property
    def title(self) -> str: ...
    @property
    def outputs(self) -> int: ...
    @property
    def classes(self) -> tuple[str, ...] | None: ...
    @property
    def space(self) -> Space: ...

    def network(self, candidate: Candidate) -> Network:
        """The network of a candidate."""
        ...


@dataclass(frozen=True)
class CheckpointAdoptee:
    """A foreign checkpoint, and what its user says of it.

    Attributes:
        weights: the checkpoint with its ``EMA`` and its ``raw`` weights, or with what there is of
            them; what is assumed first comes first.
        told: of the preprocessing.
        network_told: of stem and strides.
        told_size: whether the user says the image size.
    """

    weights: Mapping[str, Checkpoint]
    told: InputChanges
    network_told: NetworkTold
    told_size: bool
    title: str = "the checkpoint"

    @property
    def checkpoint(self) -> Checkpoint:
        """With the weights that are assumed."""
        return next(iter(self.weights.values()))

    @property
    def outputs(self) -> int:
        """How many logits it gives."""
        return len(self.checkpoint.classes)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of its classes, where they are known."""
        return self.checkpoint.classes if self.checkpoint.classes_known else None

    @property
    def space(self) -> Space:
        """All that it may have been trained as."""
        return checkpoint_space(
            self.weights, self.told, self.network_told, told_size=self.told_size
        )

    def chosen(self, candidate: Candidate) -> Checkpoint:
        """The checkpoint as a candidate has it, but for its input."""
        checkpoint = self.weights[candidate.weights]
        return replace(checkpoint, stem=candidate.stem, stride_in=candidate.stride_in)

    def network(self, candidate: Candidate) -> Network:
        """PyTorch's, in float32."""
        model = folded(self.chosen(candidate).build())

        def answers(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
            normalize = Normalizer(spec, torch.device("cpu"))
            with torch.inference_mode():
                logits: NDArray[np.float32] = model(normalize(torch.from_numpy(pixels))).numpy()
            return logits

        return answers


@dataclass(frozen=True)
class BareAdoptee:
    """An open bare model file, and what its user says of it."""

    opened: Opened
    told: InputChanges

    @property
    def title(self) -> str:
        """The file's name."""
        return self.opened.name

    @property
    def outputs(self) -> int:
        """How many logits it gives."""
        return self.opened.outputs or self.opened.session.classes or 0

    @property
    def classes(self) -> tuple[str, ...] | None:
        """A bare file names none."""
        return None

    @property
    def space(self) -> Space:
        """All that it may have been trained as: of one size, and as one network."""
        return bare_space(
            self.opened.input_spec, self.told, normalizes=self.opened.embed_preprocess
        )

    def network(self, candidate: Candidate) -> Network:
        """The runtime's session, the same for all."""
        session = self.opened.session
        last = channels_last(session.input_shape)

        def answers(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
            raw = self.opened.embed_preprocess
            return run_padded(session, to_input(pixels, spec, raw=raw, channels_last=last))

        return answers

"""The images that an export is proven on, and the few that travel with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from edgeresnet.device.data.class_binding import ClassesOf, bind_classes
from edgeresnet.device.data.dataset import balanced_subset, batches, is_labelled
from edgeresnet.device.data.open import FILES, open_dataset, without_broken
from edgeresnet.device.measure.doubts import answer_doubts
from edgeresnet.errors import InputError, MissingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.data.dataset import Dataset, Split
    from edgeresnet.host.models.checkpoint import Checkpoint

PROOF_IMAGES = 256
NOISE: Literal["noise"] = "noise"


@dataclass(frozen=True)
class ProofImages:
    """Images and where they are from.

    Attributes:
        pixels: (n, H, W, 3) uint8.
        names: one each, for messages.
        origin: ``calibration``: the data that the checkpoint was calibrated on; ``data``: the
            data that was given, or that it was trained on; ``noise``: there was none.
        labels: (n,) places among the checkpoint's classes; None where the images have no labels,
            or labels of other classes: they prove logits whatever they show.
        by_name: whether names say which class is which output.
    """

    pixels: NDArray[np.uint8]
    names: tuple[str, ...]
    origin: Literal["calibration", "data", "noise"]
    labels: NDArray[np.int64] | None = None
    by_name: bool = False

    def in_order(self, order: NDArray[np.int64]) -> ProofImages:
        """The same images in another order."""
        labels = None if self.labels is None else self.labels[order]
        names = tuple(self.names[i] for i in order)
        return replace(self, pixels=self.pixels[order], names=names, labels=labels)

    def doubts(self, logits: NDArray[np.float32], classes: Sequence[str]) -> list[str]:
        """What there is to say against a model's answers to these images; none if they may be.

        Args:
            logits: (m, classes) of the first m images.
            classes: their names.
        """
        labels = None if self.labels is None else self.labels[: len(logits)]
        return answer_doubts(logits, labels, classes, by_name=self.by_name)


def proof_images(checkpoint: Checkpoint, data: str | None) -> ProofImages:
    """Up to 256 images of the training split, as calibration draws them; smooth noise if none.

    Args:
        checkpoint: says what it was calibrated on, and trained on.
        data: DATA SPEC instead of that; None: noise will do if it is not here.

    Raises:
        InputError: ``data`` is given and not usable.
        MissingError: ``data`` is given, and what reads it is not installed.
    """
    seed = int((checkpoint.quantization or {}).get("seed", 0))
    drawn = _images(checkpoint, PROOF_IMAGES, data, "train", seed)
    # An emulator has time for the first few only: they must not all be of the first class.
    return drawn.in_order(np.random.default_rng(seed).permutation(len(drawn.pixels)))


def golden_images(checkpoint: Checkpoint, count: int, data: str | None) -> NDArray[np.uint8]:
    """A few images (n, H, W, 3) uint8 of the validation data; smooth noise if there is none."""
    return _images(checkpoint, count, data, "val", seed=0).pixels


def _images(
    checkpoint: Checkpoint, count: int, data: str | None, split: Split, seed: int
) -> ProofImages:
    calibrated_on = (checkpoint.quantization or {}).get("data")
    source = data or calibrated_on or checkpoint.data
    if source is not None:
        try:
            chosen = balanced_subset(open_dataset(source, split, unlabelled=True), count, seed)
            # Only of these: to decode all of a large folder would take far longer than the proof.
            chosen = without_broken(chosen)
        except (InputError, MissingError):
            # The data of the training machine need not be here; what was asked for must be.
            if data is not None:
                raise
        else:
            pixels, _ = next(iter(batches(chosen, checkpoint.input_spec, count, raw=True)))
            # Of data without files a subset counts anew: such a place would name another image.
            names = tuple(
                chosen.file_name(i) if isinstance(chosen, FILES) else f"image {i}"
                for i in range(len(chosen))
            )
            origin: Literal["calibration", "data"]
            origin = "calibration" if source == calibrated_on else "data"
            drawn = ProofImages(cast("NDArray[np.uint8]", pixels), names, origin)
            return _labelled(drawn, checkpoint, chosen)
    names = tuple(f"image {i}" for i in range(count))
    return ProofImages(_noise(count, checkpoint.input_spec.image_size), names, NOISE)


def _labelled(images: ProofImages, checkpoint: Checkpoint, dataset: Dataset) -> ProofImages:
    """The images with what the data says of them, where its classes are the checkpoint's."""
    if not is_labelled(dataset):
        return images
    own = ClassesOf.of("the model", checkpoint.classes, known=checkpoint.classes_known)
    try:
        binding = bind_classes(dataset, own)
    except InputError:
        return images
    return replace(images, labels=binding.dataset.labels, by_name=binding.by_name)


def _noise(count: int, size: int) -> NDArray[np.uint8]:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (count, -(-size // 8), -(-size // 8), 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :size, :size]

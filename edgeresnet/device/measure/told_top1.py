"""What a manifest says of its network's top-1, and on which images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeresnet.device.data.dataset import Dataset, places_drawn_by_name
from edgeresnet.device.data.remembered import names_fingerprint
from edgeresnet.device.targets.precision import is_quantized

if TYPE_CHECKING:
    from edgeresnet.device.bundle.manifest import Manifest
    from edgeresnet.device.measure.accuracy import Predictions


@dataclass(frozen=True)
class ToldTop1:
    """A share of right answers that somebody claims.

    Attributes:
        value: in [0, 1].
        images: on so many.
        seed: by which these were drawn from the validation images; None: they are all of them.
        fingerprint: by which these are known again; None: nothing says.
    """

    value: float
    images: int
    seed: int | None = None
    fingerprint: str | None = None

    def on_its_images(self, predictions: Predictions, dataset: Dataset) -> Predictions | None:
        """The answers on the images that it is told of; None: they are not all here.

        Args:
            predictions: on all images of ``dataset``, in its order.
            dataset: validation images.
        """
        drawn: Sequence[int] = range(len(dataset))
        if self.seed is not None:
            drawn = places_drawn_by_name(dataset, self.images, self.seed)
        if len(drawn) != self.images:
            return None
        if self.fingerprint not in (None, names_fingerprint(dataset.subset(drawn))):
            return None
        places = list(drawn)
        logits, labels = predictions.logits[places], predictions.labels[places]
        return replace(predictions, logits=logits, labels=labels, embeddings=None)


def told_top1(manifest: Manifest) -> ToldTop1 | None:
    """Top-1 that a manifest's provenance tells of its network; None: it tells none."""
    provenance = manifest.provenance
    if manifest.adopted:
        # Of the very file, whatever its precision.
        return _adopted(provenance)
    if is_quantized(manifest.precision):
        told = _part(provenance, "quantization")
        return _told(told.get("top1_int8"), told.get("images"))
    if provenance.get("pruning"):
        # It is of the network before.
        return None
    trained = _told(provenance.get("top1"), provenance.get("val_images"))
    return trained or _adopted(provenance)


def _adopted(provenance: Mapping[str, Any]) -> ToldTop1 | None:
    """Of a model that was adopted: on the images by which its preprocessing was found."""
    told = _part(provenance, "adopted")
    found, seed, fingerprint = _told(told.get("top1"), told.get("n")), told.get("seed"), None
    if isinstance(told.get("images_fingerprint"), str):
        fingerprint = told["images_fingerprint"]
    if found is None or not isinstance(seed, int):
        return found
    return replace(found, seed=seed, fingerprint=fingerprint)


def _part(provenance: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A part of it; empty where it is none, as a stranger may have written."""
    part = provenance.get(key)
    return part if isinstance(part, dict) else {}


def _told(top1: object, images: object) -> ToldTop1 | None:
    if isinstance(top1, (int, float)) and isinstance(images, int):
        return ToldTop1(float(top1), images)
    return None

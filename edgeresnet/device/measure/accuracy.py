"""How often a session is right, and how sure that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.data.class_names import match_names
from edgeresnet.device.data.dataset import Dataset, batches, is_labelled
from edgeresnet.device.data.preprocess import to_input
from edgeresnet.device.measure.statistics import Z95, Interval, paired_interval, wilson
from edgeresnet.device.session import check_outputs
from edgeresnet.device.targets.classifier import channels_last
from edgeresnet.device.targets.padding import run_padded
from edgeresnet.errors import CheckError
from edgeresnet.settings.inputs import InputSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.targets.protocol import Session

EVALUATION_BATCH = 32


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a session answered.

    Attributes:
        logits: (n, classes) float32.
        labels: (n,) int64; without meaning where there are none.
        preprocess_ms: for one image, mean (decoding aside).
        run_ms: for one image, mean.
        classes: what the logits are of, by name; empty: in the order of whatever it is compared to.
        labelled: whether the images have labels, so that an answer can be right.
        embeddings: (n, channels) that the answers come from; None: they are the model's own.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    preprocess_ms: float
    run_ms: float
    classes: tuple[str, ...] = ()
    labelled: bool = True
    embeddings: NDArray[np.float32] | None = None

    def correct(self, k: int = 1) -> NDArray[np.bool_]:
        """(n,) whether the label is among the k largest logits."""
        assert self.labelled
        own = self.logits[np.arange(len(self.labels)), self.labels][:, None]
        # Ties count against the label, so a network that answers the same for all classes is wrong.
        larger = (self.logits >= own).sum(1)
        result: NDArray[np.bool_] = larger <= k
        return result

    def answers(self) -> NDArray[np.int64]:
        """(n,) the class that was answered; a tie with the label counts as the other class."""
        assert self.labelled
        logits, wrong = self.logits.copy(), ~self.correct()
        logits[wrong, self.labels[wrong]] = -np.inf
        result: NDArray[np.int64] = logits.argmax(1)
        return result


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1] of ``n`` images."""

    n: int
    top1: float
    top5: float
    top1_interval: tuple[float, float]
    per_class: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """The figures of the JSON contract."""
        return {
            "n": self.n,
            "top1": self.top1,
            "top5": self.top5,
            "top1_interval": list(self.top1_interval),
        }


def predict(
    session: Session,
    dataset: Dataset,
    spec: InputSpec,
    *,
    embed_preprocess: bool = False,
    on_images: Callable[[int], object] | None = None,
) -> Predictions:
    """Run every image of a data set through a session.

    Args:
        session: takes any batch; the last one is padded.
        dataset: images, labelled or not.
        spec: how an image becomes an input.
        embed_preprocess: the session takes uint8 pixels.
        on_images: called with the number of images done, for progress.

    Raises:
        InputError: the session does not give a logit for each class of the data.
        CheckError: a logit is NaN or infinite.
    """
    check_outputs("the model", session.classes, dataset)
    return answers_of_images(
        session, dataset, spec, embed_preprocess=embed_preprocess, on_images=on_images,
        classes=dataset,
    )  # fmt: skip


def answers_of_images(
    session: Session,
    dataset: Dataset,
    spec: InputSpec,
    *,
    embed_preprocess: bool = False,
    on_images: Callable[[int], object] | None = None,
    classes: Dataset | None = None,
) -> Predictions:
    """As `predict`, of a session that may answer with something else than logits.

    Args:
        session: as there.
        dataset: as there.
        spec: as there.
        embed_preprocess: as there.
        on_images: as there.
        classes: whose classes an answer must have one value for each of; None: none.
    """
    smallest, largest = session.batch_sizes
    size = min(max(smallest, EVALUATION_BATCH), largest)
    last = channels_last(session.input_shape)
    logits: list[NDArray[np.float32]] = []
    preprocess_s = run_s = 0.0
    for pixels, _ in batches(dataset, spec, size, raw=True):
        start = time.perf_counter()
        inputs = to_input(pixels, spec, raw=embed_preprocess, channels_last=last)
        prepared = time.perf_counter()
        logits.append(run_padded(session, inputs))
        if classes is not None:
            check_outputs("the model", logits[-1].shape[1], classes)
        preprocess_s += prepared - start
        run_s += time.perf_counter() - prepared
        if on_images is not None:
            on_images(len(pixels))
    together = np.concatenate(logits)
    _check_finite(together, dataset)
    n = len(dataset)
    per_image_ms = 1e3 / n
    return Predictions(
        together,
        dataset.labels,
        preprocess_s * per_image_ms,
        run_s * per_image_ms,
        tuple(dataset.classes),
        is_labelled(dataset),
    )


def joined(parts: Sequence[Predictions]) -> Predictions:
    """What one session answered to further images, as if it had been asked at once."""
    n = [len(part.labels) for part in parts]
    return replace(
        parts[0],
        logits=np.concatenate([part.logits for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        preprocess_ms=float(np.average([part.preprocess_ms for part in parts], weights=n)),
        run_ms=float(np.average([part.run_ms for part in parts], weights=n)),
    )


def _check_finite(logits: NDArray[np.float32], dataset: Dataset) -> None:
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        index = int(np.flatnonzero(~finite)[0])
        raise CheckError(
            f"the model gives NaN or infinite logits for {dataset.file_name(index)}",
            "quantize and export it again; if it stays, the checkpoint itself overflows.",
        )


def accuracy(predictions: Predictions) -> Accuracy:
    """Top-1, top-5, per class, and the Wilson score interval of top-1."""
    labels, top1 = predictions.labels, predictions.correct(1)
    classes = predictions.logits.shape[1]
    per_class = tuple(
        float(top1[labels == c].mean()) if (labels == c).any() else float("nan")
        for c in range(classes)
    )
    top5 = predictions.correct(min(5, classes))
    n = len(labels)
    return Accuracy(
        n, float(top1.mean()), float(top5.mean()), wilson(int(top1.sum()), n), per_class
    )


def chance_line(
    answers: NDArray[np.int64], labels: NDArray[np.int64], classes: int, *, by_name: bool
) -> str | None:
    """Says that top-1 is not clearly above chance, and why that may be; None if it is.

    Chance is what the same answers would score on average if they had nothing to do with the
    images (as in Cohen's kappa, 1960): on uneven classes that is more than one in their number.

    Args:
        answers: (n,) the top-1 class of each image.
        labels: (n,).
        classes: how many there are.
        by_name: whether names say which class is which output.
    """
    n, hits = len(labels), int((answers == labels).sum())
    shares = [np.bincount(values, minlength=classes) / n for values in (answers, labels)]
    chance = max(float(shares[0] @ shares[1]), 1 / classes)
    low, high = wilson(hits, n)
    if low > chance + min(chance, 0.1):
        return None
    causes = [] if by_name else ["the order of the classes (--class-order, --classes)"]
    causes += [
        "the preprocessing (mean and std, channel order, size and crop)",
        "whether the network is the one that was trained (stem, strides, activation)",
        "whether these images are of the kind that it was trained on",
    ]
    return (
        f"top-1 {hits / n:.4f} ({low:.4f} to {high:.4f}) is not clearly above chance, "
        f"{chance:.4f}; look at {', then at '.join(causes)}; edgeresnet adopt CKPT --data SPEC "
        "-o CKPT finds preprocessing, stem and class order from labelled images"
    )


def share_of(hits: NDArray[np.bool_], *, z: float = Z95) -> Interval:
    """Share of the images for which something holds, (n,), with its interval of `wilson`."""
    return Interval(float(hits.mean()), *wilson(int(hits.sum()), len(hits), z))


def paired_difference(
    baseline: NDArray[np.bool_], candidate: NDArray[np.bool_], *, z: float = Z95
) -> Interval:
    """Candidate's share right minus the baseline's, on the same images, with a 95 % interval.

    The score interval for paired proportions (Tango, 1998), which does not collapse where there is
    no disagreement.

    Args:
        baseline: (n,) whether each answer was right.
        candidate: (n,) likewise.
        z: half the interval in standard errors; more where several are to hold together.
    """
    gained, lost = int((candidate & ~baseline).sum()), int((baseline & ~candidate).sum())
    return paired_interval(gained, lost, len(baseline), z)


def same_answers(a: Predictions, b: Predictions) -> NDArray[np.bool_]:
    """(n,) whether the top-1 class is the same, in whatever order either has its outputs."""
    answers, others = a.logits.argmax(1), b.logits.argmax(1)
    places = places_in(a, b)
    same: NDArray[np.bool_] = answers == (others if places is None else places[others])
    return same


def places_in(a: Predictions, b: Predictions) -> NDArray[np.int64] | None:
    """(classes of b,) which output of ``a`` each output of ``b`` is; None: the same."""
    if not a.classes or not b.classes or a.classes == b.classes:
        return None
    # What the other does not know is no class of its: it agrees with nothing.
    places = np.full(len(b.classes), -1)
    for own, other in match_names(b.classes, a.classes).items():
        places[own] = other
    return places


def agreement(a: Predictions, b: Predictions, *, z: float = Z95) -> Interval:
    """Share of images with the same top-1 class; of 95 % unless ``z`` is another."""
    return share_of(same_answers(a, b), z=z)

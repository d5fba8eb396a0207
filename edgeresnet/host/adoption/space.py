"""What may have been so in somebody else's training and nobody wrote down, convention first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any

from edgeresnet.device.data.preprocess import resized_to
from edgeresnet.settings.inputs import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    SQUASH,
    Channels,
    InputSpec,
    Interpolation,
    Triple,
)
from edgeresnet.settings.network import stem_shape

# Of red, green and blue, on values in 0 to 1.
NORMALIZATIONS: dict[str, tuple[Triple, Triple]] = {
    "ImageNet": (IMAGENET_MEAN, IMAGENET_STD),
    "0.5 and 0.5": ((0.5,) * 3, (0.5,) * 3),
    "0 to 1": ((0.0,) * 3, (1.0,) * 3),
    "0 to 255": ((0.0,) * 3, (1 / 255,) * 3),
    # Of Caffe's ResNets (He et al., 2016), which subtract it from values in 0 to 255.
    "Caffe": (
        (123.68 / 255, 116.779 / 255, 103.939 / 255),
        (1 / 255,) * 3,
    ),
}
# Shares of the resized image: the usual one of each size comes first.
CROPS: dict[str, dict[str, Any]] = {
    "usual": {},
    "squashed": {"resize": SQUASH},
    "middle 0.875": {"crop_ratio": 0.875},
    "middle 0.95": {"crop_ratio": 0.95},
    "shorter side": {"crop_ratio": 1.0},
}
SIZES = (24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 176, 192, 224, 256, 288, 320, 384, 448)
# Far enough apart that a network trained between two of them is above chance at one.
FAR_SIZES = (32, 64, 128, 224)
NEAR_SIZES = 5
# Of how large things are under stems, sizes and crops that may make up for each other.
MOST_APART = 1.25
# Of a stem that reduces less than ResNets were published with, by its reduction.
LARGEST = {1: 64, 2: 128}
INTERPOLATIONS: tuple[Interpolation, ...] = ("bilinear", "bicubic", "nearest", "lanczos")
CHANNELS: tuple[Channels, ...] = ("rgb", "bgr", "gray")
# A picture that is not square shows what is done with any.
_SAMPLE = (640, 427)


@dataclass(frozen=True)
class Candidate:
    """One way in which a network may have been trained; each field one thing to find out.

    Attributes:
        weights: ``EMA`` or ``raw``.
        stem: a name of `edgeresnet.host.models.resnet.STEMS`.
        stride_in: which convolution of a bottleneck has the stride, ``3x3`` or ``1x1``.
        size: height and width of the input in pixels.
        crop: a key of `Space.crops`.
        interpolation: of pixels.
        channels: ``rgb``, ``bgr`` or ``gray``.
        normalization: a key of `Space.normalizations`.
    """

    weights: str
    stem: str
    stride_in: str
    size: int
    crop: str
    interpolation: Interpolation
    channels: Channels
    normalization: str


FIELDS = tuple(f.name for f in fields(Candidate))


@dataclass(frozen=True)
class Space:
    """The options of every field, the conventional one first.

    Attributes:
        options: by the name of a field of `Candidate`.
        normalizations: mean and std of each; of red, green and blue but for ``in_own_order``.
        crops: what each says to an `InputSpec`.
        base: what else is known of the input.
        in_own_order: normalizations that somebody gave in the order of the network's channels.
    """

    options: Mapping[str, tuple[Any, ...]]
    normalizations: Mapping[str, tuple[Triple, Triple]] = field(
        default_factory=lambda: NORMALIZATIONS
    )
    crops: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: CROPS)
    in_own_order: frozenset[str] = frozenset()
    base: InputSpec = field(default_factory=InputSpec)

    def first(self) -> Candidate:
        """What is assumed where nothing speaks against it."""
        return self.named(Candidate(**{name: self.options[name][0] for name in FIELDS}))

    def spec(self, candidate: Candidate) -> InputSpec:
        """How an image becomes the input of a network that was trained so."""
        mean, std = self.normalizations[candidate.normalization]
        if candidate.channels == "bgr" and candidate.normalization not in self.in_own_order:
            mean, std = _reversed(mean), _reversed(std)
        crop = self.crops[candidate.crop]
        return replace(
            self.base,
            image_size=candidate.size,
            mean=mean,
            std=std,
            interpolation=candidate.interpolation,
            channels=candidate.channels,
            resize=crop.get("resize"),
            crop_ratio=crop.get("crop_ratio"),
        )

    def far(self) -> Iterator[list[Candidate]]:
        """Groups of candidates that differ in what matters most, the cheapest first.

        A group is of one network and size. The first has one alone, which is the convention's.
        """
        usual = self.first()
        yield [usual]
        first, *sizes = self.options["size"]
        places = product(
            self.options["stem"],
            self.options["stride_in"],
            (first, *(size for size in sizes if size in FAR_SIZES)),
        )
        alike = [
            replace(usual, stem=stem, stride_in=stride, size=size) for stem, stride, size in places
        ]
        likely = [one for one in alike if one.size == usual.size or _is_likely(one)]
        for one in sorted(likely, key=_cost):
            yield self.like(one)

    def like(self, candidate: Candidate) -> list[Candidate]:
        """All combinations of weights, channels and normalization of the same network and size."""
        # Luminance as three equal channels is found from RGB, whose answers are close to it.
        channels = [c for c in self.options["channels"] if c != "gray"] or ["gray"]
        combined = product(self.options["weights"], channels, self.options["normalization"])
        return [
            self.named(replace(candidate, weights=w, channels=c, normalization=n))
            for w, c, n in combined
        ]

    def shapes(self, candidate: Candidate) -> list[Candidate]:
        """All combinations of stem, stride, size and crop at which things are about as large."""
        names = ("stem", "stride_in", "size", "crop")
        made = [
            self.named(replace(candidate, **dict(zip(names, place, strict=True))))
            for place in product(*(self.options[name] for name in names))
        ]
        own = self._scale(candidate)
        alike = [c for c in made if 1 / MOST_APART <= self._scale(c) / own <= MOST_APART]
        return list(dict.fromkeys([candidate, *filter(_is_likely, alike)]))

    def _scale(self, candidate: Candidate) -> float:
        """How large things are behind the stem: pixels of an image's shorter side there."""
        return min(resized_to(self.spec(candidate), *_SAMPLE)) / _reduction(candidate)

    def near(self, candidate: Candidate, name: str) -> list[Candidate]:
        """The same with each option of one field, convention first, itself among them."""
        options = self.options[name]
        if name == "size":
            size = candidate.size
            apart = {s: max(s / size, size / s) for s in options}
            around = sorted(options, key=apart.__getitem__)[:NEAR_SIZES]
            options = tuple(s for s in options if s in around)
        made = [self.named(replace(candidate, **{name: option})) for option in options]
        return list(dict.fromkeys([*filter(_is_likely, made), candidate]))

    def named(self, candidate: Candidate) -> Candidate:
        """The same, with the first name that its part of the image has at its size."""
        part = resized_to(self.spec(candidate), *_SAMPLE)
        for crop in self.options["crop"]:
            other = replace(candidate, crop=crop)
            if resized_to(self.spec(other), *_SAMPLE) == part:
                return other
        return candidate


def _is_likely(candidate: Candidate) -> bool:
    """Whether anybody would train so: a stem that reduces less is for smaller images."""
    return candidate.size <= LARGEST.get(_reduction(candidate), candidate.size)


def _cost(candidate: Candidate) -> float:
    """Pixels behind the stem, where most of the work is."""
    return (candidate.size / _reduction(candidate)) ** 2


def _reduction(candidate: Candidate) -> int:
    return stem_shape(candidate.stem).reduction if candidate.stem else 4


def _reversed(values: Triple) -> Triple:
    return values[2], values[1], values[0]

"""Training batches: pixels to augmented, normalized tensors.

A set that fits is decoded once and stays in memory as uint8; a larger one is streamed by worker
processes. What is random depends only on seed, epoch and place in the epoch, so a resumed run
sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from edgeresnet.device.data.dataset import Dataset, pixels_of
from edgeresnet.device.data.open import converted, take_converted
from edgeresnet.device.data.preprocess import to_colours
from edgeresnet.device.machine.cpu import default_threads
from edgeresnet.errors import InputError
from edgeresnet.files.ranks import this_rank
from edgeresnet.host.models.pixels import Normalizer, fits_in_memory, load_pixels
from edgeresnet.host.parallel.processes import own_of_step, processes
from edgeresnet.host.training.augment import policy_of, seeded, shift_flip
from edgeresnet.settings.inputs import InputSpec, Interpolation
from edgeresnet.settings.training import TrainOptions

MOST_WORKERS = 8
# Share of the photograph that a random crop keeps: milder than the 0.08 of 90-epoch ImageNet
# training, because edge networks are mostly fine-tuned for few epochs.
CROP_SCALE = (0.25, 1.0)


@functools.cache
def _photo_view(image_size: int, interpolation: Interpolation) -> tuple[v2.Transform, v2.Transform]:
    """What cuts a piece out of a photograph, and what shakes its colours."""
    mode = v2.InterpolationMode(interpolation)
    crop = v2.RandomResizedCrop(image_size, CROP_SCALE, interpolation=mode, antialias=True)
    return crop, v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)


def photo_view(dataset: Dataset, index: int, spec: InputSpec, seed: int) -> Tensor:
    """A random crop of one photograph, resized, with its colours shaken a little.

    Returns:
        (N, N, 3) uint8, in the order of the network's channels.
    """
    whole: Any = to_colours(dataset.image(index), spec)
    crop, shake = _photo_view(spec.image_size, spec.interpolation)
    # torchvision's transforms draw from the global generator; leave it as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Of tensors torchvision has no Lanczos.
        if spec.interpolation == "lanczos":
            whole = v2.functional.pil_to_tensor(crop(whole))
        else:
            whole = crop(v2.functional.pil_to_tensor(whole))
        view = cast(Tensor, shake(whole)).permute(1, 2, 0)
    return view.flip(-1).contiguous() if spec.channels == "bgr" else view.contiguous()


def steps_of_epoch(images: int, batch_size: int) -> int:
    """Batches of so many images at most, even in size, of two or more each."""
    return min(-(-images // batch_size), images // 2)


def _check_enough(fewest: int) -> None:
    """Refuse batches of which some process would have no image."""
    if (count := processes().count) > fewest:
        raise InputError(
            f"a training step has {fewest} images, and {count} processes share them",
            "give a larger batch_size, or start fewer processes.",
        )


class TrainBatches:
    """The training set, each epoch in another order and with other random views.

    Args:
        dataset: at least two images.
        spec: how an image becomes an input.
        options: ``augment``, ``batch_size``, ``seed`` and ``workers`` are used.
        device: where the batches go.

    Raises:
        InputError: fewer than two images.
    """

    def __init__(
        self, dataset: Dataset, spec: InputSpec, options: TrainOptions, device: torch.device
    ) -> None:
        if len(dataset) < 2:
            raise InputError(
                f"data {dataset.name} has {len(dataset)} training image",
                "training needs two or more: add images or raise --limit.",
            )
        self.images = len(dataset)
        self.steps = steps_of_epoch(self.images, options.batch_size)
        self._parts = options.accumulate
        _check_enough(self.images // self.steps)
        self._seed = options.seed
        self._device = device
        self._policy = policy_of(options.augment, spec.image_size)
        self._normalize = Normalizer(spec, device)
        self._labels = torch.from_numpy(np.asarray(dataset.labels, np.int64)).to(device)
        self._pixels: Tensor | None = None
        self._stream: _Stream | None = None
        if not self._policy.photo and fits_in_memory(dataset, spec):
            self._pixels = load_pixels(dataset, spec).to(device)
        else:
            views = _Views(dataset, spec, photo=self._policy.photo)
            self._stream = _Stream(views, options.workers, device)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch, from ``first_step`` on.

        Yields:
            (n, 3, H, W) float32 in channels-last memory and labels (n,) int64, on the device: of
            several processes the images that are this one's, part by part (`own_of_step`).
        """
        generator = seeded(self._seed, epoch)
        order = torch.randperm(self.images, generator=generator)
        seeds = None
        if self._policy.photo:
            seeds = torch.randint(0, 1 << 62, (self.images,), generator=generator)
        steps = range(first_step, self.steps)
        # Not as a list: of a million images that would take more than the order itself.
        parts = (self._part(order, step)[0] for step in steps)
        for step, pixels in zip(steps, self._read(parts, seeds), strict=True):
            draws = seeded(self._seed, epoch, step + 1)
            part, own = self._part(order, step)
            pixels = shift_flip(pixels, self._policy, draws, own, self.images_of(step))
            yield self._normalize(pixels), self._labels[part.to(self._device)]

    def images_of(self, step: int) -> int:
        """Images of a step of an epoch, all processes' together."""
        least, longer = divmod(self.images, self.steps)
        return least + (step < longer)

    def _part(self, order: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """The images of a step that this process computes, and their places in the whole step."""
        least, longer = divmod(self.images, self.steps)
        start, images = step * least + min(step, longer), self.images_of(step)
        spans = own_of_step(images, self._parts, of=processes())
        own = torch.tensor([place for span in spans for place in span], dtype=torch.int64)
        return order[start : start + images][own], own

    def _read(self, parts: Iterator[Tensor], seeds: Tensor | None) -> Iterator[Tensor]:
        if self._stream is not None:
            for pixels in self._stream.read(parts, seeds):
                yield pixels.to(self._device, non_blocking=True)
        elif self._pixels is not None:
            for part in parts:
                yield self._pixels[part.to(self._device)]

    def close(self) -> None:
        """End the worker processes."""
        self._stream = None


class _Views(torch.utils.data.Dataset[Any]):
    """Decodes one image at a time, in a worker process.

    A broken image is returned as its message, not raised: across processes an exception loses
    its parts. What was converted is counted in the process that trains.
    """

    def __init__(self, dataset: Dataset, spec: InputSpec, *, photo: bool) -> None:
        self._dataset, self._spec, self._photo = dataset, spec, photo

    def __getitem__(self, item: tuple[int, int]) -> _View | _Broken:
        index, seed = item
        try:
            if self._photo:
                pixels = photo_view(self._dataset, index, self._spec, seed)
            else:
                pixels = torch.from_numpy(pixels_of(self._dataset, index, self._spec))
        except InputError as error:
            return _Broken(error.cause, error.fix)
        return _View(pixels, index, converted(self._dataset, index))

    def count(self, index: int, kinds: tuple[str, ...]) -> None:
        """Take over what a worker process did to an image."""
        take_converted(self._dataset, index, kinds)


class _View(NamedTuple):
    pixels: Tensor
    of: int
    kinds: tuple[str, ...]


class _Broken(NamedTuple):
    cause: str
    fix: str


class _Batch(NamedTuple):
    pixels: Tensor
    converted: list[tuple[int, tuple[str, ...]]]


def _collate(items: list[_View | _Broken]) -> _Batch | _Broken:
    broken = next((item for item in items if isinstance(item, _Broken)), None)
    if broken is not None:
        return broken
    views = cast("list[_View]", items)
    converted = [(view.of, view.kinds) for view in views if view.kinds]
    return _Batch(torch.stack([view.pixels for view in views]), converted)


class _Stream:
    """Worker processes that live as long as the training does."""

    def __init__(self, views: _Views, workers: int | None, device: torch.device) -> None:
        if workers is None:
            here = default_threads() // this_rank().local_count
            workers = min(max(1, here), MOST_WORKERS)
        self._views = views
        self._plan = _Plan()
        self._loader: DataLoader[Any] = DataLoader(
            views,
            batch_sampler=cast(Any, self._plan),
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=device.type == "cuda",
            persistent_workers=workers > 0,
            # A forked process would inherit torch's and the decoder's threads in any state.
            multiprocessing_context="spawn" if workers else None,
            generator=torch.Generator(),
        )

    def read(self, parts: Iterator[Tensor], seeds: Tensor | None) -> Iterator[Tensor]:
        self._plan.batches = (
            list(zip(part.tolist(), _seeds(part, seeds), strict=True)) for part in parts
        )
        for batch in self._loader:
            if isinstance(batch, _Broken):
                raise InputError(*batch)
            for index, kinds in batch.converted:
                self._views.count(index, kinds)
            yield batch.pixels


def _seeds(part: Tensor, seeds: Tensor | None) -> list[int]:
    """Of each image's view; where nothing is drawn for one, any."""
    return [0] * len(part) if seeds is None else seeds[part].tolist()


class _Plan(torch.utils.data.Sampler[Sequence[Any]]):
    """Hands out the batches that `_Stream.read` says, once, as far as the loader asks for them."""

    def __init__(self) -> None:
        self.batches: Iterator[Sequence[Any]] = iter(())

    def __iter__(self) -> Iterator[Sequence[Any]]:
        return self.batches

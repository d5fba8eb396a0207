from __future__ import annotations

import tracemalloc
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.preprocess import normalize, to_pixels
from edgeresnet.device.data.standard import ArrayDataset
from edgeresnet.errors import InputError
from edgeresnet.host.models import pixels
from edgeresnet.host.models.pixels import Normalizer, load_pixels
from edgeresnet.host.parallel.processes import ONE, own_of_step, working_as
from edgeresnet.host.training.augment import Policy, policy_of, seeded, shift_flip
from edgeresnet.host.training.batches import TrainBatches, photo_view
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.training import Augment, TrainOptions
from tests.fakes import FakeDataset

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")
SPEC = InputSpec(8)
PLAIN = TrainOptions(batch_size=4, augment="none", workers=0)


def noise(n: int = 11, size: int = 8) -> ArrayDataset:
    generator = np.random.default_rng(0)
    pixels = generator.integers(1, 256, (n, size, size, 3), dtype=np.uint8)
    return ArrayDataset("noise", "train", ("a", "b"), np.arange(n) % 2, pixels)


def crops(image: torch.Tensor, padding: int) -> list[torch.Tensor]:
    """Every place that a shift can move an image to."""
    size = image.shape[0]
    padded = torch.zeros((size + 2 * padding, size + 2 * padding, 3), dtype=torch.uint8)
    padded[padding : padding + size, padding : padding + size] = image
    steps = range(2 * padding + 1)
    return [padded[y : y + size, x : x + size] for y in steps for x in steps]


def is_one_of(image: torch.Tensor, candidates: list[torch.Tensor]) -> bool:
    return any(torch.equal(image, candidate) for candidate in candidates)


def test_shift_flip_returns_the_input_when_nothing_is_random() -> None:
    pixels = torch.from_numpy(noise().pixels)
    assert shift_flip(pixels, Policy(), seeded(0)) is pixels


def test_shift_flip_only_moves_when_flipping_is_off() -> None:
    pixels = torch.from_numpy(noise(64).pixels)
    moved = shift_flip(pixels, Policy(padding=2), seeded(0))
    assert all(is_one_of(m, crops(p, 2)) for m, p in zip(moved, pixels, strict=True))
    assert not torch.equal(moved, pixels)


def test_shift_flip_mirrors_about_half_when_flipping_is_on() -> None:
    pixels = torch.from_numpy(noise(200).pixels)
    moved = shift_flip(pixels, Policy(padding=1, flip=True), seeded(0))
    kept = [is_one_of(m, crops(p, 1)) for m, p in zip(moved, pixels, strict=True)]
    mirrored = [is_one_of(m.flip(1), crops(p, 1)) for m, p in zip(moved, pixels, strict=True)]
    assert all(k != m for k, m in zip(kept, mirrored, strict=True))
    assert 70 < sum(mirrored) < 130


def test_shift_flip_reaches_every_offset_when_there_are_many_images() -> None:
    one = torch.from_numpy(noise(1).pixels)
    moved = shift_flip(one.expand(300, -1, -1, -1), Policy(padding=1), seeded(0))
    assert all(is_one_of(candidate, list(moved)) for candidate in crops(one[0], 1))


def test_seeded_gives_its_own_sequence_when_any_number_differs() -> None:
    draws = [
        torch.randint(0, 1 << 40, (), generator=seeded(*numbers)).item()
        for numbers in ((0, 1), (1, 0), (0, 1, 1), (0, 2), (0, 1))
    ]
    assert draws[0] == draws[4]
    assert len(set(draws)) == 4


def test_normalizer_equals_dataset_normalize_when_given_all_values() -> None:
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    ours = Normalizer(SPEC, CPU)(torch.from_numpy(pixels))
    assert np.array_equal(ours.numpy(), normalize(pixels, SPEC))
    assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "size", "policy"),
    [
        ("none", 48, Policy()),
        ("shift", 16, Policy(1)),
        ("light", 28, Policy(2, flip=True)),
        ("standard", 32, Policy(4, flip=True)),
        ("standard", 224, Policy(flip=True, photo=True)),
    ],
)
def test_policy_of_falls_back_to_pad_and_crop_when_images_are_small(
    name: Augment, size: int, policy: Policy
) -> None:
    assert policy_of(name, size) == policy


def test_load_pixels_equals_to_pixels_when_images_are_resized(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pixels, "DECODE_BATCH", 4)
    dataset, spec = noise(), InputSpec(12)
    expected = np.stack([to_pixels(dataset.image(i), spec) for i in range(len(dataset))])
    assert np.array_equal(load_pixels(dataset, spec).numpy(), expected)


def test_train_batches_shows_every_image_once_when_an_epoch_passes() -> None:
    dataset = noise()
    feed = TrainBatches(dataset, SPEC, PLAIN, CPU)
    wanted = {row.tobytes() for row in normalize(dataset.pixels, SPEC)}
    for epoch in range(2):
        images = torch.cat([images for images, _ in feed.epoch(epoch)])
        rows = [row.tobytes() for row in images.contiguous().numpy()]
        assert len(rows) == len(dataset)
        assert set(rows) == wanted


def test_train_batches_pairs_images_with_their_labels_when_shuffled() -> None:
    dataset = noise()
    label_of = {
        row.tobytes(): int(label)
        for row, label in zip(normalize(dataset.pixels, SPEC), dataset.labels, strict=True)
    }
    for images, labels in TrainBatches(dataset, SPEC, PLAIN, CPU).epoch(0):
        rows = images.contiguous().numpy()
        assert [label_of[row.tobytes()] for row in rows] == labels.tolist()


def test_train_batches_changes_the_order_when_the_epoch_or_seed_changes() -> None:
    def labels(seed: int, epoch: int) -> list[int]:
        feed = TrainBatches(noise(50), SPEC, replace(PLAIN, seed=seed), CPU)
        return torch.cat([y for _, y in feed.epoch(epoch)]).tolist()

    assert labels(0, 0) == labels(0, 0)
    assert labels(0, 0) != labels(0, 1)
    assert labels(0, 0) != labels(1, 0)


@pytest.mark.parametrize(("n", "batch_size"), [(5, 2), (9, 8), (129, 128), (2, 128), (7, 3)])
def test_train_batches_leaves_no_batch_of_one_when_sizes_do_not_divide(
    n: int, batch_size: int
) -> None:
    feed = TrainBatches(noise(n), SPEC, replace(PLAIN, batch_size=batch_size), CPU)
    sizes = [len(labels) for _, labels in feed.epoch(0)]
    assert sum(sizes) == n
    assert len(sizes) == feed.steps
    assert min(sizes) >= 2


def test_train_batches_refuses_when_there_is_one_image() -> None:
    with pytest.raises(InputError, match="noise has 1 training image"):
        TrainBatches(noise(1), SPEC, PLAIN, CPU)


def epoch_of(dataset: ArrayDataset, options: TrainOptions, first: int = 0) -> torch.Tensor:
    feed = TrainBatches(dataset, SPEC, options, CPU)
    try:
        return torch.cat([images for images, _ in feed.epoch(3, first)])
    finally:
        feed.close()


def test_train_batches_draws_other_views_when_the_step_changes() -> None:
    dataset = noise(8)
    same = replace(dataset, pixels=np.repeat(dataset.pixels[:1], 8, axis=0))
    views = epoch_of(same, replace(PLAIN, batch_size=4, augment="light"))
    assert not torch.equal(views[:4], views[4:])


def test_train_batches_repeats_the_same_views_when_an_epoch_is_gone_on_with() -> None:
    options = replace(PLAIN, augment="light")
    whole = epoch_of(noise(12), options)
    assert torch.equal(epoch_of(noise(12), options, first=1), whole[4:])


@pytest.mark.parametrize("workers", [0, 1])
def test_train_batches_gives_the_same_when_the_set_is_streamed(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    options = replace(PLAIN, augment="light", workers=workers)
    in_memory = epoch_of(noise(), options)
    monkeypatch.setattr(pixels, "RESIDENT_BYTES", 0)
    feed = TrainBatches(noise(), SPEC, options, CPU)
    first, again = (torch.cat([x for x, _ in feed.epoch(3)]) for _ in range(2))
    feed.close()
    assert torch.equal(first, in_memory)
    assert torch.equal(again, in_memory)


# A reader's own process is in the test above; beginning one takes seconds.
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_epoch_lays_down_no_list_of_its_images_when_the_set_is_streamed(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(pixels, "RESIDENT_BYTES", 0)
    images = 50_000
    options = replace(PLAIN, augment="shift", workers=workers, batch_size=8)
    feed = TrainBatches(FakeDataset([0, 1] * (images // 2)), SPEC, options, CPU)
    next(feed.epoch(0))
    tracemalloc.start()
    next(feed.epoch(1))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    feed.close()
    # Tensors are not counted: the order has 8 bytes an image.
    assert most < 2 * images


def write_folder(root: Path, size: int) -> None:
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(2):
                pixels = generator.integers(0, 256, (size, size + 10, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")


def test_train_batches_names_the_file_when_an_image_is_broken(tmp_path: Path) -> None:
    write_folder(tmp_path, 140)
    (tmp_path / "train" / "dog" / "1.png").write_bytes(b"not an image")
    dataset = open_dataset(str(tmp_path), "train")
    feed = TrainBatches(dataset, InputSpec(128), replace(PLAIN, augment="standard"), CPU)
    with pytest.raises(InputError, match=r"dog/1\.png"):
        list(feed.epoch(0))


def test_train_batches_crops_photographs_when_they_are_large(tmp_path: Path) -> None:
    write_folder(tmp_path, 140)
    dataset = open_dataset(str(tmp_path), "train")
    feed = TrainBatches(dataset, InputSpec(128), replace(PLAIN, augment="standard"), CPU)
    (first, _), (second, _) = (next(feed.epoch(epoch)) for epoch in (0, 0))
    ((other, _),) = feed.epoch(1)
    assert first.shape == (4, 3, 128, 128)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_photo_view_depends_on_its_seed_alone_when_called_twice() -> None:
    dataset = noise(2, size=40)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    views = [photo_view(dataset, 0, InputSpec(32), seed) for seed in (1, 1, 2)]
    assert views[0].shape == (32, 32, 3)
    assert views[0].dtype == torch.uint8
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_photo_view_is_in_the_networks_channels_and_interpolation() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)

    class Photographs(FakeDataset):
        def image(self, index: int) -> Image.Image:
            return Image.fromarray(pixels)

    dataset = Photographs([0])
    rgb, bgr, grey, lanczos = (
        photo_view(dataset, 0, InputSpec(160, **told), 1)  # type: ignore[arg-type]
        for told in ({}, {"channels": "bgr"}, {"channels": "gray"}, {"interpolation": "lanczos"})
    )
    assert torch.equal(bgr, rgb.flip(-1))
    assert torch.equal(grey[..., 0], grey[..., 2])
    assert lanczos.shape == rgb.shape
    assert not torch.equal(lanczos, rgb)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("augment", get_args(Augment))
def test_processes_have_the_views_that_one_has(augment: Augment, parts: int) -> None:
    options = TrainOptions(batch_size=20, augment=augment, accumulate=parts, workers=0)

    def in_order_of_step(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The pixels and labels of an epoch's last two steps, put together from all processes."""
        told: list[Any] = [SimpleNamespace(rank=rank, count=count) for rank in range(count)]
        read = []
        for one in told:
            with working_as(one if count > 1 else ONE):
                read.append([*TrainBatches(noise(50), SPEC, options, CPU).epoch(1, 1)])
        steps = []
        for own in zip(*read, strict=True):
            images, labels = (torch.cat(both) for both in zip(*own, strict=True))
            spans = [own_of_step(len(images), parts, of=one) for one in told]
            places = [place for one in spans for span in one for place in span]
            assert sorted(places) == [*range(len(images))]
            order = torch.tensor(places).argsort()
            steps.append((images[order], labels[order]))
        return steps

    for (one, labels), (several, own) in zip(in_order_of_step(1), in_order_of_step(3), strict=True):
        assert torch.equal(one, several)
        assert torch.equal(labels, own)

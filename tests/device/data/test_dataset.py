"""Images come out right whatever their mode; data sets split, limit and complain as promised."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from edgeresnet.device.data.dataset import balanced_subset, batches
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.preprocess import normalize, to_pixels, to_rgb
from edgeresnet.errors import InputError
from edgeresnet.host.models.pixels import Normalizer
from edgeresnet.settings.inputs import InputSpec
from tests.fakes import FakeDataset

SPEC = InputSpec(8)


def flat(mode: str, color: object) -> Image.Image:
    return Image.new(mode, (8, 8), color)  # type: ignore[arg-type]


def test_to_rgb_gives_the_colour_when_the_mode_is_any() -> None:
    palette = flat("RGB", (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    sixteen = Image.fromarray(np.full((8, 8), 200 * 257, np.uint16))
    for image, expected in [
        (flat("L", 77), (77, 77, 77)),
        (flat("1", 1), (255, 255, 255)),
        (palette, (10, 200, 30)),
        (flat("RGBA", (10, 200, 30, 255)), (10, 200, 30)),
        (sixteen, (200, 200, 200)),
        (flat("CMYK", (0, 0, 0, 0)), (255, 255, 255)),
    ]:
        pixels = to_pixels(image, SPEC)
        assert pixels.shape == (8, 8, 3)
        assert pixels.dtype == np.uint8
        assert np.abs(pixels[4, 4].astype(int) - expected).max() <= 1, image.mode


def test_to_rgb_turns_the_image_when_exif_says_so(tmp_path: Path) -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        found = np.asarray(to_rgb(image))
    assert found.shape == (16, 8, 3)
    assert found[:4].min() == 255
    assert found[4:].max() == 0


def test_to_pixels_equals_torchvisions_resize_and_crop_when_the_image_is_a_photograph() -> None:
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 256, (300, 401, 3), dtype=np.uint8))
    expected = v2.Compose([v2.Resize(round(160 * 256 / 224)), v2.CenterCrop(160)])(image)
    assert np.array_equal(to_pixels(image, InputSpec(160)), np.asarray(expected))


def test_normalize_is_bit_identical_to_the_hosts() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    host = Normalizer(SPEC, torch.device("cpu"))(torch.from_numpy(pixels))
    assert np.array_equal(normalize(pixels, SPEC), host.numpy())


def test_batches_are_in_order_when_decoded_in_parallel() -> None:
    labels = [i % 10 for i in range(37)]
    found = list(batches(FakeDataset(labels), SPEC, 8, raw=True, workers=4))
    assert [len(pixels) for pixels, _ in found] == [8, 8, 8, 8, 5]
    values = np.concatenate([pixels[:, 0, 0, 0] for pixels, _ in found])
    assert np.array_equal(values, np.array(labels) * 20)


def test_balanced_subset_is_even_and_repeatable() -> None:
    data = FakeDataset([0] * 90 + [1] * 10, classes=2)
    chosen = balanced_subset(data, 12, 3)
    assert np.bincount(chosen.labels).tolist() == [6, 6]
    assert np.array_equal(chosen.labels, balanced_subset(data, 12, 3).labels)


def test_limit_draws_validation_images_by_name_whatever_their_classes_frequency(
    tmp_path: Path,
) -> None:
    for part, counts in (("train", (90, 10)), ("val", (90, 10))):
        for name, count in zip(("cat", "dog"), counts, strict=True):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                (tmp_path / part / name / f"{i}.png").touch()
    shares = []
    for seed in range(30):
        drawn = open_dataset(str(tmp_path), "val", limit=20, seed=seed)
        assert len(drawn) == 20
        shares.append(float((drawn.labels == 1).mean()))
    assert 0.05 < np.mean(shares) < 0.15
    assert len({open_dataset(str(tmp_path), "val", limit=20).file_name(0) for _ in range(3)}) == 1
    # Training must meet the rarest class too.
    train = open_dataset(str(tmp_path), "train", limit=20)
    assert np.bincount(train.labels).tolist() == [10, 10]


def test_limit_draws_the_same_images_when_folders_differ_in_case(tmp_path: Path) -> None:
    def drawn(root: Path, names: tuple[str, str]) -> set[str]:
        for part in ("train", "val"):
            for name in names:
                (root / part / name).mkdir(parents=True)
                for i in range(10):
                    (root / part / name / f"{i}.png").touch()
        data = open_dataset(str(root), "val", limit=5)
        return {data.file_name(i).lower() for i in range(len(data))}

    assert drawn(tmp_path / "here", ("cat", "dog")) == drawn(tmp_path / "there", ("Cat", "DOG"))


def photos(root: Path, *, per_class: int = 30) -> Path:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            flat("RGB", (i, 0, 0)).save(root / name / f"{i}.png")
    return root


def test_folder_split_is_stable_when_files_are_added(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")

    def names(split: str) -> set[str]:
        data = open_dataset(str(root), split)  # type: ignore[arg-type]
        return {data.file_name(i) for i in range(len(data))}

    train, val = names("train"), names("val")
    assert not train & val
    assert len(train | val) == 60
    assert 3 <= len(val) <= 25
    for i in range(100, 140):
        flat("RGB", (i, 0, 0)).save(root / "cat" / f"{i}.png")
    assert train <= names("train")
    assert val <= names("val")


def test_open_dataset_names_the_broken_image_or_leaves_it_out_when_asked(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", per_class=4)
    shutil.move(root, tmp_path / "train")
    (tmp_path / "photos").mkdir()
    shutil.move(tmp_path / "train", root / "train")
    shutil.copytree(root / "train", root / "val")
    (root / "val" / "cat" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    data = open_dataset(str(root), "val")
    with pytest.raises(InputError, match=r"2\.png"):
        list(batches(data, SPEC, 4))
    skipping = open_dataset(str(root), "val", skip_broken=True)
    assert len(skipping) == 7
    assert len(skipping.skipped) == 1
    assert "2.png" in skipping.skipped[0]

"""Pixels are those of the transforms that networks were trained and measured with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.models import ResNet50_Weights
from torchvision.transforms import v2

from edgeresnet.device.data.preprocess import MOST_RESIZED, normalize, resized_to, to_pixels
from edgeresnet.device.targets.registry import TARGETS, example_of
from edgeresnet.errors import InputError
from edgeresnet.settings.inputs import IMAGENET_MEAN, InputChanges, InputSpec

SIZES = [(300, 401), (401, 300), (224, 224), (161, 517), (640, 481), (97, 131)]
MODES = {
    "bilinear": v2.InterpolationMode.BILINEAR,
    "bicubic": v2.InterpolationMode.BICUBIC,
    "nearest": v2.InterpolationMode.NEAREST,
    "lanczos": v2.InterpolationMode.LANCZOS,
}


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth areas, edges and noise, as photographs have them."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 20 + 2, width // 20 + 2, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(smooth).astype(int) + generator.integers(-20, 21, (height, width, 3))
    pixels[height // 3 : height // 2, width // 4 :] //= 3
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def difference(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("weights", list(ResNet50_Weights))
def test_pixels_are_those_of_torchvisions_own_transforms(
    weights: ResNet50_Weights, size: tuple[int, int]
) -> None:
    from edgeresnet.host.models.foreign.torchvision import published_inputs

    image, spec = photograph(*size), published_inputs(f"torchvision:resnet50:{weights.name}", None)
    assert spec.plain == (weights is ResNet50_Weights.IMAGENET1K_V1)
    wanted = weights.transforms()(image).numpy()
    pixels = to_pixels(image, spec)
    back = wanted * np.array(spec.std)[:, None, None] + np.array(spec.mean)[:, None, None]
    assert difference(pixels, np.rint(back * 255).transpose(1, 2, 0)) <= 1
    assert np.abs(normalize(pixels[None], spec)[0] - wanted).max() < 1.01 / 255 / min(spec.std)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", list(MODES))
@pytest.mark.parametrize("resize", [72, "squash", "squash and crop", "ratio"])
def test_pixels_are_those_of_the_transforms_that_a_network_was_trained_with(
    size: tuple[int, int], interpolation: str, resize: int | str
) -> None:
    mode, crop = MODES[interpolation], v2.CenterCrop(64)
    told, wanted = {
        72: ({"resize": 72}, v2.Compose([v2.Resize(72, mode), crop])),
        "squash": ({"resize": "squash"}, v2.Resize((64, 64), mode)),
        "squash and crop": (
            {"resize": "squash", "crop_ratio": 0.875},
            v2.Compose([v2.Resize((73, 73), mode), crop]),
        ),
        # timm: floor(64 / 0.95)
        "ratio": ({"crop_ratio": 0.95}, v2.Compose([v2.Resize(67, mode), crop])),
    }[resize]
    image = photograph(*size)
    spec = InputSpec(64, interpolation=interpolation, **told)
    assert difference(to_pixels(image, spec), np.asarray(wanted(image))) <= 1


def test_pixels_are_in_the_networks_own_order() -> None:
    image = photograph(40, 30)
    rgb, bgr = to_pixels(image, InputSpec(16)), to_pixels(image, InputSpec(16, channels="bgr"))
    assert np.array_equal(bgr, rgb[..., ::-1])
    spec = InputSpec(16, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0), channels="bgr")
    floats = normalize(bgr[None], spec)
    assert np.allclose(floats[0, 0], rgb[..., 2] / 255 - 0.1, atol=1e-6)


def test_grey_is_torchvisions_luminance_three_times() -> None:
    image = photograph(41, 30)
    wanted = v2.Compose([v2.Grayscale(3), v2.Resize((16, 16))])(image)
    assert difference(to_pixels(image, InputSpec(16, channels="gray")), np.asarray(wanted)) <= 1


def test_strip_costs_no_gigabyte_and_is_cut_as_any_image(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = InputSpec(160)
    width, height = resized_to(spec, 20000, 3)
    assert width * height > MOST_RESIZED
    assert to_pixels(Image.new("RGB", (20000, 3), (9, 8, 7)), spec).shape == (160, 160, 3)
    image = photograph(401, 300)
    whole = to_pixels(image, spec)
    monkeypatch.setattr("edgeresnet.device.data.preprocess.MOST_RESIZED", 1)
    assert difference(to_pixels(image, spec), whole) <= 1


def test_floats_and_32_bit_numbers_are_refused_and_16_bits_scaled() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    for floats in (values, values * 255, values * 4000, np.full((8, 8), np.nan, np.float32)):
        with pytest.raises(InputError, match="floats of unknown range"):
            to_pixels(Image.fromarray(floats), InputSpec(8))
    for numbers in (values * 1e6, values - 9):
        with pytest.raises(InputError, match="32-bit numbers"):
            to_pixels(Image.fromarray(numbers.astype(np.int32)), InputSpec(8))
    for kind in (np.uint16, np.int32):
        wide = Image.fromarray((values * 65535).astype(kind))
        assert difference(to_pixels(wide, InputSpec(8))[..., 0], values * 255) <= 1


@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize(
    ("values", "told"),
    [(np.ones((8, 8), np.float32), "floats"), (np.full((8, 8), 65536, np.int32), "32-bit")],
)
def test_example_refuses_what_edgeresnet_refuses(
    target: str, values: np.ndarray, told: str
) -> None:
    names = names_of_example(target, InputSpec(8))
    with pytest.raises(ValueError, match=told):
        names["to_rgb"](Image.fromarray(values))


def names_of_example(target: str, spec: InputSpec) -> dict[str, Any]:
    """What a target's example defines to make pixels."""
    path = example_of(target)
    assert path is not None
    source = path.read_text(encoding="utf-8")
    begin, end = source.index("def to_rgb("), source.index("def to_input(")
    names: dict[str, Any] = {
        "np": np, "Image": Image, "ImageOps": ImageOps, "NDArray": np.ndarray,
        "MANIFEST": {"input_spec": spec.to_dict()},
    }  # fmt: skip
    exec("from __future__ import annotations\n" + source[begin:end], names)
    return names


@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize(
    "spec",
    [
        InputSpec(160),
        InputSpec(48),
        InputSpec(48, resize=56, interpolation="bicubic"),
        InputSpec(160, resize="squash", channels="bgr"),
        InputSpec(48, resize="squash", crop_ratio=0.875, interpolation="lanczos"),
        InputSpec(48, crop_ratio=0.95, channels="gray"),
        InputSpec(48, resize=59, crop_rounding="down"),
    ],
    ids=["large", "small", "resize", "squash", "squash and crop", "ratio", "rounded down"],
)
def test_example_makes_the_pixels_that_edgeresnet_makes(target: str, spec: InputSpec) -> None:
    names = names_of_example(target, spec)
    for size in SIZES[:3]:
        image = photograph(*size)
        assert np.array_equal(names["to_pixels"](image), to_pixels(image, spec))


def test_plain_spec_is_written_as_older_versions_wrote_it() -> None:
    spec = InputSpec(32)
    assert list(spec.to_dict()) == ["image_size", "mean", "std"]
    other = InputSpec(32, resize=40, interpolation="bicubic", channels="bgr")
    for one in (spec, other, InputSpec(32, resize="squash", crop_ratio=0.9)):
        assert InputSpec.from_dict(one.to_dict()) == one
        assert one.plain == (one is spec)


def test_share_of_the_image_stays_when_the_size_changes() -> None:
    assert InputSpec(224, resize=232).of_size(112) == InputSpec(112, resize=116)
    assert InputSpec(224).of_size(32) == InputSpec(32)


def test_changes_are_read_as_a_command_line_has_them() -> None:
    changes = InputChanges(resize="232", mean="104/255,117/255,123/255", std="1/255")  # type: ignore[arg-type]
    spec = changes.over(InputSpec(224, crop_ratio=0.9))
    assert (spec.resize, spec.crop_ratio, spec.std) == (232, None, (1 / 255,) * 3)
    assert spec.mean == (104 / 255, 117 / 255, 123 / 255)
    assert InputChanges().over(spec) is spec
    assert InputChanges(crop_ratio=0.875).over(spec).resize is None
    assert InputChanges(channels="bgr").over(InputSpec()).mean == IMAGENET_MEAN


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"resize": "half"}, "resize half is not known"),
        ({"resize": 100}, "leaves less than the 224 px"),
        ({"resize": 256, "crop_ratio": 0.9}, "both say"),
        ({"mean": "104,117,123"}, "not of values in 0 to 1"),
        ({"mean": "a,b,c"}, "does not normalize"),
        ({"std": "0.5,0.5"}, "does not normalize"),
        ({"std": "0"}, "does not normalize"),
        ({"crop_ratio": 1.2}, "too large"),
    ],
)
def test_changes_are_refused_when_they_cannot_be(values: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        InputChanges(**values).over(InputSpec())  # type: ignore[arg-type]

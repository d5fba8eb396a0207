"""How images are made into inputs, as a file or the one beside it says, under whatever key."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeresnet.settings.inputs import InputChanges, InputSpec
from tests.host.models.foreign_networks import loaded, narrow, tensors_of

HALF, QUARTER = (0.5,) * 3, (0.25,) * 3
DOWN: dict[str, Any] = {"crop_rounding": "down"}
MM_CONFIG = """
data_preprocessor = dict(
    mean=[127.5, 127.5, 127.5], num_classes=5, std=[63.75, 63.75, 63.75], to_rgb=True)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=80, edge='short', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs'),
]
"""
MM_STEPS = [
    {"type": "LoadImageFromFile"},
    {"type": "Resize", "size": (80, -1), "interpolation": "bicubic"},
    {"type": "CenterCrop", "crop_size": 64},
    {"type": "Normalize", "mean": [127.5] * 3, "std": [63.75] * 3, "to_rgb": True},
    {"type": "Collect", "keys": ["img"]},
]


def with_inputs(folder: Path, changes: InputChanges | None = None, **said: Any) -> Checkpoint:
    content = {"state_dict": tensors_of(narrow()), **said}
    return loaded(folder, content, inputs=changes or InputChanges())


def notes_of(checkpoint: Checkpoint) -> str:
    return "\n".join(checkpoint.provenance["notes"])


def beside(folder: Path, processor: dict[str, Any]) -> Checkpoint:
    (folder / "config.json").write_text(json.dumps({"num_labels": 5}))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return with_inputs(folder)


def usual(size: int, **fields: Any) -> InputSpec:
    return InputSpec(size, **fields)


TIMM = {"input_size": [3, 64, 64], "crop_pct": 0.95, "interpolation": "bicubic",
        "mean": [0.5] * 3, "std": [0.25] * 3, "crop_mode": "center"}  # fmt: skip
OF_TIMM = usual(64, mean=HALF, std=QUARTER, crop_ratio=0.95, interpolation="bicubic")


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"pretrained_cfg": TIMM}, OF_TIMM),
        ({"default_cfg": TIMM}, OF_TIMM),
        ({"config": {"pretrained_cfg": {**TIMM, "test_input_size": [3, 72, 72],
                                        "test_crop_pct": 1.0}}},
         usual(72, mean=HALF, std=QUARTER, crop_ratio=1.0, interpolation="bicubic")),
        ({"pretrained_cfg": {**TIMM, "crop_mode": "squash"}},
         usual(64, mean=HALF, std=QUARTER, crop_ratio=0.95, interpolation="bicubic",
               resize="squash")),
        # A script of timm without its defaults told.
        ({"args": argparse.Namespace(img_size=64, crop_pct=None, interpolation="", mean=None)},
         usual(64)),
        ({"args": argparse.Namespace(val_resize_size=72, val_crop_size=64, train_crop_size=56,
                                     interpolation="bilinear")}, usual(64, resize=72)),
        ({"args": argparse.Namespace(val_resize_size=64, val_crop_size=64,
                                     interpolation="InterpolationMode.BICUBIC")},
         usual(64, resize=64, interpolation="bicubic")),
        ({"cfg": {"INPUT": {"FORMAT": "BGR"}, "MODEL": {"PIXEL_MEAN": [127.5] * 3,
                                                       "PIXEL_STD": [1.0] * 3}}},
         usual(32, mean=HALF, std=(1 / 255,) * 3, channels="bgr")),
        ({"cfg": {"data_preprocessor": {"mean": [127.5] * 3, "std": [63.75] * 3,
                                        "to_rgb": False}}},
         usual(32, mean=HALF, std=QUARTER, channels="bgr")),
        # MMPretrain's own default is the order in which OpenCV reads.
        ({"cfg": {"data_preprocessor": {"mean": [127.5] * 3, "std": [63.75] * 3}}},
         usual(32, mean=HALF, std=QUARTER, channels="bgr")),
        ({"meta": {"cfg": {"img_norm_cfg": {"mean": [127.5] * 3, "std": [63.75] * 3,
                                            "to_rgb": True}}}},
         usual(32, mean=HALF, std=QUARTER)),
        # Before there was a data_preprocessor, as dictionaries and as text.
        ({"cfg": {"test_pipeline": MM_STEPS}},
         usual(64, mean=HALF, std=QUARTER, resize=80, interpolation="bicubic")),
        ({"test_pipeline": MM_STEPS},
         usual(64, mean=HALF, std=QUARTER, resize=80, interpolation="bicubic")),
        ({"meta": {"cfg": f"test_pipeline = {MM_STEPS}"}},
         usual(64, mean=HALF, std=QUARTER, resize=80, interpolation="bicubic")),
        ({"cfg": {"test_pipeline": MM_STEPS, "img_norm_cfg": {
            "mean": [0.0] * 3, "std": [255.0] * 3, "to_rgb": False}}},
         usual(64, mean=(0,) * 3, std=(1,) * 3, resize=80, interpolation="bicubic",
               channels="bgr")),
        ({"mean": [0.5], "std": 0.25}, usual(32, mean=HALF, std=QUARTER)),
        ({"mean": torch.tensor(127.5), "std": [63.75]}, usual(32, mean=HALF, std=QUARTER)),
        ({"meta": {"cfg": MM_CONFIG}},
         usual(64, mean=HALF, std=QUARTER, resize=80, interpolation="bicubic")),
        ({"image_size": 64, "resize": (64, 64), "channels": "BGR"},
         usual(64, resize="squash", channels="bgr")),
        ({"image_size": 64, "resize": [73, 73]},
         usual(64, resize="squash", crop_ratio=64 / 73)),
        ({"hparams": {"image_size": 64, "crop_ratio": 0.8, "channels": 3}},
         usual(64, crop_ratio=0.8)),
    ],
)  # fmt: skip
def test_input_is_what_the_file_says_when_it_says_so(
    tmp_path: Path, said: dict[str, Any], wanted: InputSpec
) -> None:
    spec = with_inputs(tmp_path, **said).input_spec
    assert spec == wanted


@pytest.mark.parametrize(
    ("processor", "wanted"),
    [
        # ResNets there: shorter side to 64 / 0.875, then the centre.
        ({"size": {"shortest_edge": 64}, "crop_pct": 0.875, "resample": 3, "image_mean": [0.5] * 3,
          "image_std": [0.25] * 3, "do_resize": True},
         usual(64, crop_ratio=0.875, interpolation="bicubic", mean=HALF, std=QUARTER, **DOWN)),
        # What it does not say is what its kind does, and without a kind that of ResNets.
        ({"size": 64, "image_processor_type": "ConvNextImageProcessor"},
         usual(64, crop_ratio=0.875, interpolation="bicubic", mean=HALF, std=HALF, **DOWN)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.95, "do_resize": True},
         usual(384, resize="squash", interpolation="bicubic", mean=HALF, std=HALF)),
        ({"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64},
          "do_center_crop": True, "resample": 2}, usual(64, resize=72, **DOWN)),
        ({"size": 64, "image_processor_type": "ConvNextImageProcessor", "resample": 2,
          "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "crop_size": 56},
         usual(64, crop_ratio=0.875, mean=HALF, std=QUARTER, **DOWN)),
        ({"size": {"height": 64, "width": 64}, "resample": 2, "do_rescale": True},
         usual(64, resize="squash")),
        ({"size": {"height": 64, "width": 64}, "crop_size": 56, "do_center_crop": False},
         usual(64, resize="squash")),
        ({"size": {"height": 64, "width": 64}, "do_normalize": False, "image_mean": [0.5] * 3,
          "image_std": [0.25] * 3}, usual(64, resize="squash", mean=(0,) * 3, std=(1,) * 3)),
        ({"size": {"height": 64, "width": 64}, "do_rescale": False, "image_mean": [127.5] * 3,
          "image_std": [255.0] * 3}, usual(64, resize="squash", mean=HALF, std=(1,) * 3)),
        ({"size": {"height": 64, "width": 64}, "rescale_factor": 1 / 127.5,
          "image_mean": [1.0] * 3, "image_std": [1.0] * 3},
         usual(64, resize="squash", mean=HALF, std=HALF)),
        ({"size": {"height": 64, "width": 64}, "do_flip_channel_order": True},
         usual(64, resize="squash", channels="bgr")),
    ],
)  # fmt: skip
def test_input_is_what_the_processor_beside_says_when_it_is_of_this_network(
    tmp_path: Path, processor: dict[str, Any], wanted: InputSpec
) -> None:
    assert beside(tmp_path, processor).input_spec == wanted


def test_own_checkpoint_keeps_how_the_centre_is_cut(tmp_path: Path) -> None:
    theirs = beside(tmp_path, {"size": 64, "crop_pct": 0.85})
    save_checkpoint(theirs, tmp_path / "own.pt")
    # Versions of before read up to 3, and refuse this one by its number.
    assert torch.load(tmp_path / "own.pt", weights_only=True)["version"] == 4
    assert load_checkpoint(tmp_path / "own.pt").input_spec == theirs.input_spec


def test_processor_is_refused_when_it_cuts_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="crop_size 56: it is cut out of what is cut out already"):
        beside(tmp_path, {"size": 64, "image_processor_type": "ConvNextImageProcessor",
                          "crop_size": 56, "do_center_crop": True})  # fmt: skip


def test_notes_name_the_keys_when_the_file_says_how_images_are_made(tmp_path: Path) -> None:
    args = argparse.Namespace(val_resize_size=72, val_crop_size=64, interpolation="bicubic")
    said = notes_of(with_inputs(tmp_path, args=args))
    for line in ("resize 72 as args.val_resize_size says", "size 64 as args.val_crop_size says",
                 "interpolation bicubic as args.interpolation says"):  # fmt: skip
        assert line in said


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ({"pretrained_cfg": {"crop_mode": "border"}}, "pretrained_cfg.crop_mode border.*--resize"),
        ({"interpolation": "hamming"}, "interpolation hamming.*--interpolation"),
        ({"args": {"interpolation": "random"}}, "args.interpolation random.*--interpolation"),
        ({"channels": "yuv"}, "channels yuv.*--channels"),
        ({"crop_pct": 1.2}, "crop_pct 1.2.*--crop-ratio"),
        ({"crop_pct": 0.9, "args": {"crop_ratio": 0.8}},
         "crop_pct 0.9 and args.crop_ratio 0.8.*--crop-ratio"),
        ({"image_size": 64, "args": {"img_size": 48}}, "image_size 64 and args.img_size 48"),
        ({"mean": [0.5] * 3, "std": [0.5] * 3,
          "args": {"mean": [0.4] * 3, "std": [0.5] * 3}}, "mean .*and args.mean.*--mean"),
        ({"val_resize_size": 72, "crop_pct": 0.9, "image_size": 64},
         "val_resize_size 72 and crop_pct 0.9.*--resize"),
        ({"image_size": 64, "val_resize_size": 48}, "val_resize_size 48.*--resize"),
        ({"config": {"do_resize": False, "size": 64}}, "config.do_resize False.*--resize"),
    ],
)  # fmt: skip
def test_input_is_refused_when_what_the_file_says_cannot_be_done(
    tmp_path: Path, said: dict[str, Any], refused: str
) -> None:
    with pytest.raises(InputError, match=f"(?s){refused}"):
        with_inputs(tmp_path, **said)
    told = InputChanges(resize=80, interpolation="bilinear", mean=HALF, std=HALF, channels="rgb")
    if "image_size 64 and" not in refused:
        # What the user tells stands, and nothing that it replaces is said to have been used.
        checkpoint = with_inputs(tmp_path, told, **said)
        assert checkpoint.input_spec.resize == 80
        assert not [note for note in checkpoint.provenance["notes"] if " say" in note and
                    "size 64" not in note]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "note"),
    [
        ({"val_crop_size": 64, "image_size": 96},
         "image_size 96 is unused: val_crop_size says 64"),
        ({"mean": [0.5, 0.5], "std": [0.5, 0.5]}, "mean [0.5, 0.5] is unused"),
        ({"mean": 0.5, "std": 0.0}, "std [0.0] is unused: a deviation is above 0"),
        ({"mean": 0.5, "std": True}, "mean [0.5] is unused: no std stands beside it"),
        ({"mean": [0.1307], "std": 0.3081}, "mean and std as mean (one number for all channels) "
         "and std (one number for all channels) say"),
        ({"args": {"pixel_mean": [0.5] * 3}}, "args.pixel_mean [0.5, 0.5, 0.5] is unused"),
        ({"resize": True}, "resize True is unused"),
    ],
)  # fmt: skip
def test_what_is_not_used_is_named_when_the_file_says_it(
    tmp_path: Path, said: dict[str, Any], note: str
) -> None:
    assert note in notes_of(with_inputs(tmp_path, **said))


def test_configuration_is_named_when_it_is_beside_and_of_another_network(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"num_classes": 9, "image_size": 512}')
    said = notes_of(with_inputs(tmp_path))
    assert "config.json beside it is not of a ResNet of 5 outputs: unused" in said
    (tmp_path / "config.json").unlink()
    (tmp_path / "preprocessor_config.json").write_text('{"size": 64}')
    assert "preprocessor_config.json beside it is unused" in notes_of(with_inputs(tmp_path))


def test_file_is_believed_over_the_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"num_labels": 5, "image_size": 96}')
    checkpoint = with_inputs(tmp_path, image_size=64)
    assert checkpoint.input_spec.image_size == 64
    assert "config.json image_size 96 is unused: image_size says 64" in notes_of(checkpoint)


def test_notes_tell_no_mean_of_the_file_when_the_user_tells_one(tmp_path: Path) -> None:
    said: dict[str, Any] = {"mean": HALF, "std": QUARTER}
    assert "mean and std as mean and std say" in notes_of(with_inputs(tmp_path, **said))
    told = InputChanges(mean=(0.1,) * 3, std=(0.2,) * 3)
    checkpoint = with_inputs(tmp_path, told, **said)
    assert (checkpoint.input_spec.mean, checkpoint.input_spec.std) == ((0.1,) * 3, (0.2,) * 3)
    assert "mean" not in notes_of(checkpoint)
    half_told = with_inputs(tmp_path, InputChanges(mean=(0.1,) * 3), **said)
    assert half_told.input_spec.std == QUARTER
    assert "std as std says" in notes_of(half_told)
    assert "mean as" not in notes_of(half_told)


def test_resize_is_scaled_when_the_user_tells_another_size(tmp_path: Path) -> None:
    content = {"state_dict": tensors_of(narrow()), "val_crop_size": 64, "val_resize_size": 72}
    checkpoint = loaded(tmp_path, content, image_size=32)
    assert checkpoint.input_spec == InputSpec(32, resize=36)
    assert "size 64" not in notes_of(checkpoint)

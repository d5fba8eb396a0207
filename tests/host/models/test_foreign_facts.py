"""What a file, or the one beside it, says of classes, size and normalization."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeresnet.host.models.checkpoint_record import DIGEST
from tests.host.models.foreign_networks import answers, loaded, narrow, tensors_of

NAMES = ("e", "d", "c", "b", "a")
BY_NAME = {name: index for index, name in enumerate(NAMES)}


def with_facts(folder: Path, outputs: int = 5, **said: object) -> Checkpoint:
    return loaded(folder, {"state_dict": tensors_of(narrow(outputs=outputs)), **said})


@pytest.mark.parametrize(
    "said",
    [
        {"class_to_idx": BY_NAME},
        {"class_to_idx": dict(reversed(BY_NAME.items()))},
        {"idx_to_class": dict(enumerate(NAMES))},
        {"idx_to_class": {str(i): n for i, n in enumerate(NAMES)}},
        {"classes": list(NAMES)},
        {"class_names": np.array(NAMES, dtype=object)},
        {"meta": {"CLASSES": NAMES}},
        {"meta": {"dataset_meta": {"classes": NAMES}}},
        {"config": {"id2label": {str(i): n for i, n in enumerate(NAMES)}}},
        {"args": argparse.Namespace(classes=list(NAMES))},
        {"hyper_parameters": {"class_to_idx": BY_NAME}},
    ],
    ids=lambda said: next(iter(said)),
)
def test_load_checkpoint_has_the_files_classes_when_it_lists_them(
    tmp_path: Path, said: dict[str, Any]
) -> None:
    checkpoint = with_facts(tmp_path, **said)
    assert (checkpoint.classes, checkpoint.classes_known) == (NAMES, True)
    assert "classes by name" in checkpoint.provenance["assumed"]


def test_load_checkpoint_has_digits_as_names_when_the_file_says_them(tmp_path: Path) -> None:
    # Folders 0 to 11 sorted as text.
    names = sorted(map(str, range(12)))
    checkpoint = with_facts(tmp_path, outputs=12, class_to_idx={n: i for i, n in enumerate(names)})
    assert checkpoint.classes == tuple(names)
    assert checkpoint.classes_known


def test_load_checkpoint_marks_names_as_made_up_when_nobody_said_them(tmp_path: Path) -> None:
    made_up = {"classes": 5, "config": {"id2label": {str(i): f"LABEL_{i}" for i in range(5)}}}
    checkpoint = with_facts(tmp_path, **made_up)
    assert (checkpoint.classes, checkpoint.classes_known) == (("0", "1", "2", "3", "4"), False)
    save_checkpoint(checkpoint, tmp_path / "own.pt")
    assert not load_checkpoint(tmp_path / "own.pt").classes_known
    content = torch.load(tmp_path / "own.pt", weights_only=True)
    del content["classes_known"], content[DIGEST]  # as an older edgeresnet wrote it
    torch.save(content, tmp_path / "older.pt")
    assert not load_checkpoint(tmp_path / "older.pt").classes_known
    content["provenance"] = {"trained_with": {}}
    torch.save(content, tmp_path / "older.pt")
    assert load_checkpoint(tmp_path / "older.pt").classes_known


def test_load_checkpoint_says_so_when_a_list_has_another_length(tmp_path: Path) -> None:
    checkpoint = with_facts(tmp_path, classes=["a", "b"])
    assert not checkpoint.classes_known
    assert any("classes lists 2 classes" in note for note in checkpoint.provenance["notes"])


def test_load_checkpoint_refuses_when_the_file_gives_two_orders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two orders: class_to_idx e, d, c …, classes a, b, c …"):
        with_facts(tmp_path, class_to_idx=BY_NAME, classes=sorted(NAMES))


@pytest.mark.parametrize(
    ("said", "size", "mean"),
    [
        ({"args": argparse.Namespace(val_crop_size=176, train_crop_size=128)}, 176, 0.485),
        ({"img_size": (96, 96), "mean": [0.5, 0.5, 0.5], "std": (0.25, 0.25, 0.25)}, 96, 0.5),
        ({"config": {"input_size": (3, 64, 64), "mean": None, "std": None}}, 64, 0.485),
        ({"mean": torch.full((3,), 127.5), "std": torch.full((3,), 63.75)}, 32, 0.5),
        ({"hparams": {"image_size": 48, "normalize": {"mean": (0.5,) * 3, "std": (0.25,) * 3}}},
         48, 0.5),
        ({"size": 60000, "image_size": None}, 32, 0.485),
    ],
)  # fmt: skip
def test_load_checkpoint_has_the_files_size_and_normalization_when_it_says_them(
    tmp_path: Path, said: dict[str, Any], size: int, mean: float
) -> None:
    spec = with_facts(tmp_path, **said).input_spec
    assert (spec.image_size, spec.mean[0]) == (size, mean)
    assert spec.std[0] == (0.25 if mean == 0.5 else 0.229)


def test_load_checkpoint_refuses_when_images_are_not_square(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"img_size \(480, 270\): only square"):
        with_facts(tmp_path, img_size=(480, 270))


@pytest.mark.parametrize(
    ("config", "preprocessor"),
    [
        ({"id2label": {str(i): n for i, n in enumerate(NAMES)}, "hidden_act": "relu"},
         {"size": {"shortest_edge": 96}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}),
        ({"num_classes": 5, "label_names": list(NAMES), "pretrained_cfg": {
            "input_size": [3, 96, 96], "mean": [0.5] * 3, "std": [0.25] * 3}}, {}),
    ],
)  # fmt: skip
def test_load_checkpoint_reads_the_configuration_when_it_is_beside(
    tmp_path: Path, config: dict[str, Any], preprocessor: dict[str, Any]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    model = narrow()
    checkpoint = loaded(tmp_path, tensors_of(model))
    assert checkpoint.classes == NAMES
    assert (checkpoint.input_spec.image_size, checkpoint.input_spec.mean) == (96, (0.5,) * 3)
    assert torch.equal(answers(checkpoint.build()), answers(model))
    vit = {"model_type": "vit", "hidden_act": "gelu", "num_labels": 5, "image_size": 96}
    (tmp_path / "config.json").write_text(json.dumps(vit))
    assert loaded(tmp_path, tensors_of(model)).input_spec.image_size == 32
    (tmp_path / "config.json").write_text('{"num_classes": 9, "image_size": 512}')
    assert loaded(tmp_path, tensors_of(model)).input_spec.image_size == 32


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"hidden_act": "gelu"}, "activation"),
        ({"downsample_in_first_stage": True}, "first level"),
        ({"problem_type": "multi_label_classification"}, "several labels"),
        ({"output_stride": 16}, "dilated"),
        ({"arch": "resnetblur50"}, "blurs"),
        ({"architecture": "resnetaa50"}, "blurs"),
    ],
)
def test_load_checkpoint_refuses_when_its_description_is_of_another_network(
    tmp_path: Path, said: dict[str, object], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        with_facts(tmp_path, config=said)


SHUFFLED = ("b", "e", "a", "d", "c")
TO_INDEX = {name: index for index, name in enumerate(SHUFFLED)}


@pytest.mark.parametrize(
    "said",
    [
        {"class2idx": TO_INDEX},
        {"classToIdx": TO_INDEX},
        {"label_map": TO_INDEX},
        {"class_indices": TO_INDEX},
        {"idx2label": dict(enumerate(SHUFFLED))},
        {"class_to_idx": dict(enumerate(SHUFFLED))},
        {"class_to_idx": {name: index + 1 for name, index in TO_INDEX.items()}},
        {"class_to_idx": {name: torch.tensor(index) for name, index in TO_INDEX.items()}},
        {"class_to_idx": {name: float(index) for name, index in TO_INDEX.items()}},
        {"vocab": list(SHUFFLED)},
        {"classes": ", ".join(SHUFFLED)},
        {"classes": json.dumps(SHUFFLED)},
        {"classes": list(enumerate(SHUFFLED))},
        {"categories": [{"id": i + 1, "name": n} for i, n in enumerate(SHUFFLED)]},
        {"extra": {"dataset": {"class_to_idx": TO_INDEX}}},
        {"train_dataset": {"classes": list(SHUFFLED)}},
    ],
    ids=str,
)
def test_load_checkpoint_has_the_files_classes_when_they_are_listed_under_other_names(
    tmp_path: Path, said: dict[str, Any]
) -> None:
    checkpoint = with_facts(tmp_path, **said)
    assert (checkpoint.classes, checkpoint.classes_known) == (SHUFFLED, True)


@pytest.mark.parametrize(
    "said",
    [
        {"class_to_idx": {**TO_INDEX, "c": 9}},
        {"class_to_idx": {**TO_INDEX, "f": 4}},
        {"classes": set(SHUFFLED)},
        {"label_map": {"0": "0", "1": "1", "2": "3", "3": "4", "4": "2"}},
    ],
    ids=["a gap", "two for one", "a set", "numbers for numbers"],
)
def test_load_checkpoint_refuses_when_the_order_of_the_files_classes_is_not_understood(
    tmp_path: Path, said: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=r"lists 5 classes in .* not understood"):
        with_facts(tmp_path, **said)


@pytest.mark.parametrize(
    ("file", "text"),
    [("classes.txt", "\n".join(SHUFFLED)), ("class_indices.json", json.dumps(TO_INDEX))],
)
def test_load_checkpoint_has_the_classes_of_the_list_beside_when_the_file_has_none(
    tmp_path: Path, file: str, text: str
) -> None:
    (tmp_path / file).write_text(text)
    checkpoint = with_facts(tmp_path)
    assert checkpoint.classes == SHUFFLED
    assert f"as {file} beside it lists them" in checkpoint.provenance["assumed"]
    assert with_facts(tmp_path, classes=list(NAMES)).classes == NAMES
    (tmp_path / file).write_text("one\ntwo\n")
    assert not with_facts(tmp_path).classes_known


HALF = [0.5] * 3


@pytest.mark.parametrize(
    "said",
    [
        {"mean": 0.5, "std": 0.5},
        {"args": argparse.Namespace(mean=[0.5], std=[0.5])},
        {"mean": "0.5,0.5,0.5", "std": "(0.5, 0.5, 0.5)"},
        {"means": HALF, "stdev": HALF},
        {"img_mean": HALF, "img_std": HALF},
        {"stats": (HALF, HALF)},
        {"dataset": {"mean": HALF, "std": HALF}},
        {"val": {"transforms": {"Normalize": {"mean": HALF, "std": HALF}}}},
        {"transform": "Compose(\n    Normalize(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])\n)"},
    ],
    ids=str,
)
def test_load_checkpoint_has_the_normalization_when_it_is_said_under_other_names(
    tmp_path: Path, said: dict[str, Any]
) -> None:
    spec = with_facts(tmp_path, **said).input_spec
    assert (spec.mean, spec.std) == ((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    "said",
    [
        {"accuracy": {"mean": 0.93, "std": 0.02}},
        {"train_transforms": {"mean": HALF, "std": HALF, "image_size": 48}},
        {"optimizer": {"state": {0: {"mean": torch.ones(3, 3)}}}},
        {"dataset": {"size": 5000, "channels": 3}},
    ],
    ids=str,
)
def test_load_checkpoint_has_the_usual_input_when_what_is_said_is_of_something_else(
    tmp_path: Path, said: dict[str, Any]
) -> None:
    spec = with_facts(tmp_path, **said).input_spec
    assert (spec.image_size, spec.mean[0], spec.channels) == (32, 0.485, "rgb")


@pytest.mark.parametrize(
    "said",
    [
        {"resolution": 24},
        {"input_shape": (24, 24, 3)},
        {"img_size": 24.0},
        {"image_height": 24, "image_width": 24},
        {"data": {"img_dim": 24}},
        {"transform": "Compose(\n    Resize(size=32, interpolation=bilinear)\n"
         "    CenterCrop(size=(24, 24))\n)"},
    ],
    ids=str,
)  # fmt: skip
def test_load_checkpoint_has_the_size_when_it_is_said_under_other_names(
    tmp_path: Path, said: dict[str, Any]
) -> None:
    assert with_facts(tmp_path, **said).input_spec.image_size == 24


@pytest.mark.parametrize(
    "said", [{"bgr": True}, {"rgb": False}, {"color_space": "BGR"}, {"swap_rb": True}], ids=str
)
def test_load_checkpoint_has_the_channels_when_they_are_said_under_other_names(
    tmp_path: Path, said: dict[str, Any]
) -> None:
    assert with_facts(tmp_path, **said).input_spec.channels == "bgr"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"act_layer": "silu"}, "activation"),
        ({"activation": "nn.GELU"}, "activation"),
        ({"model_kwargs": {"act_layer": "leaky_relu"}}, "activation"),
        ({"gp": "max"}, "pooling"),
        ({"global_pool": "gem"}, "pooling"),
        ({"bn_eps": 1e-3}, "epsilon"),
        ({"aa_layer": "blurpool"}, "anti-aliasing"),
        ({"antialias": True}, "anti-aliasing"),
        ({"replace_stride_with_dilation": [False, True, True]}, "dilated"),
        ({"dilations": [1, 1, 1, 2]}, "dilated"),
        ({"strides": [1, 2, 2, 1]}, "other strides"),
    ],
    ids=str,
)
def test_load_checkpoint_refuses_when_a_script_says_another_network_than_its_tensors(
    tmp_path: Path, said: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        with_facts(tmp_path, args=argparse.Namespace(**said))


def test_load_checkpoint_loads_when_a_script_says_what_a_plain_resnet_has(tmp_path: Path) -> None:
    plain = {"act_layer": "nn.ReLU", "gp": "avg", "bn_eps": 1e-5, "aa_layer": "", "dilation": 1,
             "strides": (1, 2, 2, 2), "activation": "softmax"}  # fmt: skip
    with_facts(tmp_path, args=argparse.Namespace(**plain))


def test_load_checkpoint_has_what_the_metadata_says_when_the_file_is_safetensors(
    tmp_path: Path,
) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in tensors_of(narrow()).items()}
    said = {"format": "pt", "class_to_idx": json.dumps(TO_INDEX), "mean": "[0.5, 0.5, 0.5]",
            "std": "0.5,0.5,0.5", "note": "{"}  # fmt: skip
    save_file(tensors, tmp_path / "m.safetensors", metadata=said)
    checkpoint = load_checkpoint(tmp_path / "m.safetensors")
    assert checkpoint.classes == SHUFFLED
    assert (checkpoint.input_spec.mean, checkpoint.input_spec.std) == ((0.5,) * 3, (0.5,) * 3)

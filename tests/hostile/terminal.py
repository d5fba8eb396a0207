"""Names of strangers that would steer a terminal, wherever a name may stand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from PIL import Image

from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import load_checkpoint, save_checkpoint
from tests.host.training.test_train_checkpoint import NARROW
from tests.hostile.attack import Attack
from tests.small_checkpoints import make_checkpoint
from tests.small_models import write_onnx

PAYLOADS = {
    "clears": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://x.invalid\x1b\\here\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;ZWNobw==\x07",
    "asks": "\x1b[6n\x1b[c",
    "C1": "\x9b2J\x9d0;x\x9c",
    "hides": "a\x08\x08\x7fb",
    "returns": "ok\rfailed",
    "next line": "a\x85b\u2028c\u2029d",
    "feeds": "a\x0b\x0c\x1cb",
    "override": "gnp.\u202etxt",
    "isolate": "\u2066a\u2069\u2067b",
    "marks": "a\u200e\u200f\u061cb",
    "unseen": "a\u200b\ufeff\u00adb",
    "tags": "a\U000e0041\U000e007fb",
    "markup": "[bold red]a[/bold red] [/] [link=x]b[/link]",
    "form": "{task.description.__class__} %s %(x)s {0}",
    "half": "\udc9b2J\ud800",
}
# What stands between: letters of no harm, so that each seed has other names.
LETTERS = "abc äö中 -_."


def attacks(folder: Path, rng: np.random.Generator) -> Iterator[Attack]:
    """Each prints the name escaped, whether it is refused or not."""
    _write_good(folder)
    for where, make in PLACES.items():
        names = list(PAYLOADS)
        if where in FEWER:
            names = [names[i] for i in sorted(rng.choice(len(names), 6, replace=False))]
        for name in names:
            around = ["".join(rng.choice(list(LETTERS), 3)) for _ in range(2)]
            text = f"x{around[0]}{PAYLOADS[name]}{around[1]}x"
            if (arguments := make(folder, text)) is not None:
                yield Attack(f"{where}: {name}", arguments, codes=(0, 1, 2, 3))


def _write_good(folder: Path) -> None:
    good = folder / "good"
    good.mkdir()
    write_onnx(good / "m.onnx", classes=2, shape=(1, 3, 8, 8))
    checkpoint = make_checkpoint(size=8, widths=NARROW)
    save_checkpoint(checkpoint, good / "c.pt")
    export_bundle(checkpoint, target="onnx", precision="fp32", out_dir=good / "b")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(good / "i.png")


def _images(folder: Path, classes: tuple[str, str]) -> str | None:
    shutil.rmtree(folder / "photos", ignore_errors=True)
    for name in classes:
        try:
            place = folder / "photos" / "val" / name
            place.mkdir(parents=True)
        except (OSError, ValueError):
            return None
        shutil.copy(folder / "good" / "i.png", place / "i.png")
    return "photos"


Maker = Callable[[Path, str], "tuple[str, ...] | None"]


def _class_folder(folder: Path, text: str) -> tuple[str, ...] | None:
    data = _images(folder, ("a", text))
    return data and ("evaluate", "good/m.onnx", "--data", data)


def _class_folder_as_json(folder: Path, text: str) -> tuple[str, ...] | None:
    data = _images(folder, ("a", text))
    return data and ("evaluate", "good/m.onnx", "--data", data, "--json", "-")


def _broken_image(folder: Path, text: str) -> tuple[str, ...] | None:
    data = _images(folder, ("a", "b"))
    try:
        (folder / "photos" / "val" / "a" / f"{text}.png").write_bytes(b"\x89PNG broken")
    except (OSError, ValueError):
        return None
    return data and ("evaluate", "good/m.onnx", "--data", data)


def _class_list(folder: Path, text: str) -> tuple[str, ...] | None:
    _images(folder, ("a", "b"))
    (folder / "l.json").write_text(json.dumps(["a", text]))
    return ("evaluate", "good/m.onnx", "--data", "photos", "--classes", "l.json")


def _double_class(folder: Path, text: str) -> tuple[str, ...] | None:
    _images(folder, ("a", "b"))
    (folder / "l.json").write_text(json.dumps([text, text]))
    return ("evaluate", "good/m.onnx", "--data", "photos", "--classes", "l.json")


def _image_list(folder: Path, text: str) -> tuple[str, ...] | None:
    (folder / "l.json").write_text(json.dumps([{"path": text, "label": text}] * 2))
    return ("evaluate", "good/m.onnx", "--data", "l.json")


def _image_label(folder: Path, text: str) -> tuple[str, ...] | None:
    rows = [{"path": "good/i.png", "label": text}, {"path": "good/i.png", "label": "b"}]
    (folder / "l.json").write_text(json.dumps(rows))
    return ("evaluate", "good/m.onnx", "--data", "l.json")


def _node(folder: Path, text: str) -> tuple[str, ...] | None:
    model = onnx.load(folder / "good" / "m.onnx")
    try:
        for node in model.graph.node:
            node.name = node.doc_string = text
        model.producer_name = model.domain = model.graph.name = text
        model.metadata_props.add(key=text, value=text)
    except (UnicodeError, ValueError):
        return None
    onnx.save(model, folder / "m.onnx")
    return ("inspect", "m.onnx")


def _operator(folder: Path, text: str) -> tuple[str, ...] | None:
    model = onnx.load(folder / "good" / "m.onnx")
    try:
        model.graph.node[0].op_type = model.graph.node[0].domain = text
        model.graph.input[0].name = text
    except (UnicodeError, ValueError):
        return None
    onnx.save(model, folder / "m.onnx")
    return ("profile", "m.onnx")


def _checkpoint_notes(folder: Path, text: str) -> tuple[str, ...] | None:
    values: dict[str, Any] = torch.load(folder / "good" / "c.pt", weights_only=True)
    for key in ("provenance", "data", "notes", "data_fingerprint"):
        values[key] = {text: text} if key == "provenance" else text
    values["classes"] = [text, *values["classes"][1:]]
    torch.save(values, folder / "c.pt")
    return ("inspect", "c.pt", "--json", "-")


def _checkpoint_arch(folder: Path, text: str) -> tuple[str, ...] | None:
    values: dict[str, Any] = torch.load(folder / "good" / "c.pt", weights_only=True)
    values["arch"] = text
    torch.save(values, folder / "c.pt")
    return ("inspect", "c.pt")


def _foreign(folder: Path, text: str) -> tuple[str, ...] | None:
    checkpoint = load_checkpoint(folder / "good" / "c.pt")
    tensors = dict(checkpoint.state_dict)
    tensors[text] = torch.zeros(3)
    torch.save({"state_dict": tensors, "arch": text, text: text}, folder / "c.pth")
    return ("inspect", "c.pth")


def _manifest(key: str) -> Maker:
    def make(folder: Path, text: str) -> tuple[str, ...] | None:
        shutil.rmtree(folder / "b", ignore_errors=True)
        shutil.copytree(folder / "good" / "b", folder / "b")
        path = folder / "b" / "manifest.json"
        values = json.loads(path.read_text())
        values[key] = [text, *values[key][1:]] if key == "classes" else text
        path.write_text(json.dumps(values))
        return ("inspect", "b")

    return make


def _recipe(key: str) -> Maker:
    def make(folder: Path, text: str) -> tuple[str, ...] | None:
        values = {"name": "r", "data": "digits", "model": {"weights": "gone"}, key: text}
        if key == "unknown":
            values = {text: text}
        (folder / "r.yaml").write_text(json.dumps(values))
        return ("run", "r.yaml")

    return make


def _argument(*before: str) -> Maker:
    def make(folder: Path, text: str) -> tuple[str, ...] | None:
        return (*before[:-1], f"{before[-1]}{text}")

    return make


PLACES: dict[str, Maker] = {
    "folder of a class": _class_folder,
    "folder of a class, JSON": _class_folder_as_json,
    "name of an image": _broken_image,
    "list of classes": _class_list,
    "class twice": _double_class,
    "path in a list": _image_list,
    "label in a list": _image_label,
    "node of ONNX": _node,
    "operator of ONNX": _operator,
    "notes of a checkpoint": _checkpoint_notes,
    "architecture of a checkpoint": _checkpoint_arch,
    "tensor of a checkpoint": _foreign,
    "arch of a manifest": _manifest("arch"),
    "classes of a manifest": _manifest("classes"),
    "target of a manifest": _manifest("target"),
    "model of a manifest": _manifest("model"),
    "name of a recipe": _recipe("name"),
    "data of a recipe": _recipe("data"),
    "key of a recipe": _recipe("unknown"),
    "name of a file": _argument("inspect", ""),
    "option": _argument("inspect", "--"),
    "command": _argument(""),
}
# One of each kind has all names; its like have some, which another seed chooses.
FEWER = {
    name for name in PLACES
    if name not in ("folder of a class", "list of classes", "node of ONNX", "key of a recipe")
}  # fmt: skip

"""Refuses an ``.xml`` that could run for ever, take all memory, or read what is not its own."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from edgeresnet.device.targets.openvino.graph_file import read_xml, weights_of
from edgeresnet.device.targets.spec import Checked
from edgeresnet.device.targets.stranger import (
    FLOAT_BYTES,
    MOST_INPUTS,
    check_beside,
    check_order,
    check_tensor,
    elements,
    refuse,
)
from edgeresnet.untrusted import short

# Operations that run a graph of their own, as often as they like.
CONTROL_FLOW = ("Loop", "TensorIterator", "If")
# OpenVINO's own sets of operations.
SETS = re.compile(r"opset\d{1,2}")
# Of a layer, unless it is more; of some thousands OpenVINO makes a model in seconds.
MOST_LAYERS = 20_000
# Bits of an element, by its name in a file.
BITS = {
    "f64": 64, "f32": 32, "f16": 16, "bf16": 16, "f8e4m3": 8, "f8e5m2": 8, "f8e8m0": 8, "f4e2m1": 4,
    "i64": 64, "i32": 32, "i16": 16, "i8": 8, "i4": 4,
    "u64": 64, "u32": 32, "u16": 16, "u8": 8, "u4": 4, "u3": 3, "u2": 2, "u1": 1, "nf4": 4,
    "boolean": 8,
}  # fmt: skip
STRING = "string"
INPUTS = ("f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u64", "u32", "u16", "u8",
          "boolean")  # fmt: skip
POSITIVE = ("strides", "dilations", "kernel", "group", "block_size")
BORDERS = ("pads_begin", "pads_end", "output_padding")
MOST_BORDER = 1 << 16


def check_openvino(path: Path) -> Checked:
    """Refuse a file, and the weights beside it, before OpenVINO opens them.

    Raises:
        InputError: it is no regular file of OpenVINO's, or has what an image classifier does not
            need.
    """
    root = read_xml(path)
    weights = weights_of(path)
    size = 0 if weights is None else check_beside(path, weights.name)[1]
    layers = root.findall("./layers/layer")
    if not layers:
        raise refuse(path, "it has no layers")
    if len(layers) > MOST_LAYERS:
        raise refuse(path, f"it has more than {MOST_LAYERS} layers")
    for layer in layers:
        _check_layer(path, layer, size)
    names = [layer.get("id", "") for layer in layers]
    if len(set(names)) < len(names):
        raise refuse(path, "two layers of it have one number")
    _check_order(path, root, set(names))
    given = [_sides(path, layer) for layer in layers if layer.get("type") == "Parameter"]
    largest = max(map(elements, given), default=0)
    return Checked(path.stat().st_size + size, FLOAT_BYTES * largest)


def _check_layer(path: Path, layer: Element, size: int) -> None:
    kind = layer.get("type", "")
    what = f"layer {short(layer.get('name', ''))!r} ({short(kind)})"
    if kind in CONTROL_FLOW or any(child.tag.endswith("body") for child in layer):
        raise refuse(path, f"{what} runs a graph of its own, which may have no end")
    if not SETS.fullmatch(layer.get("version", "")):
        raise refuse(
            path,
            f"{what} is of {short(layer.get('version', ''))!r}, and only OpenVINO's own are run",
        )
    data = layer.find("data")
    if data is not None:
        _check_values(path, what, data)
    if kind == "Const":
        _check_constant(path, what, layer if data is None else data, size)
    if kind == "Parameter" and data is not None:
        if data.get("element_type", "") not in INPUTS:
            raise refuse(
                path, f"{what} is of {short(data.get('element_type', ''))!r}, which no image is"
            )
        check_tensor(path, what, _sides(path, layer), MOST_INPUTS)


def _check_values(path: Path, what: str, data: Element) -> None:
    for names, largest in ((POSITIVE, 1 << 31), (BORDERS, MOST_BORDER)):
        for name in names:
            numbers = [_whole(path, what, text) for text in _listed(data, name)]
            least = 1 if names is POSITIVE else -MOST_BORDER
            if any(not least <= number <= largest for number in numbers):
                raise refuse(path, f"{what} has {name} {short(data.get(name))}")


def _check_constant(path: Path, what: str, data: Element, size: int) -> None:
    kind = data.get("element_type", "")
    if kind not in BITS and kind != STRING:
        raise refuse(path, f"{what} is of {short(kind)!r}, which is not known")
    offset, length = (_whole(path, what, data.get(key, "")) for key in ("offset", "size"))
    if offset < 0 or length < 0 or offset + length > size:
        raise refuse(
            path, f"{what} has {length} bytes from {offset} of its weights, which have {size}"
        )
    sides = [_whole(path, what, text) for text in _listed(data, "shape")]
    check_tensor(path, what, sides)
    if kind != STRING and length < -(-prod(sides) * BITS[kind] // 8):
        raise refuse(path, f"{what} has {length} bytes, fewer than its shape says")


def _sides(path: Path, layer: Element) -> list[int | None]:
    """Those of an input."""
    data = layer.find("data")
    return [] if data is None else [_side(path, "input", text) for text in _listed(data, "shape")]


def _listed(data: Element, name: str) -> list[str]:
    text = data.get(name, "").strip()
    return [part.strip() for part in text.split(",")] if text else []


def _side(path: Path, what: str, text: str) -> int | None:
    """A side of a shape; None for an open one, also where bounds are told."""
    plain = text.strip()
    return None if plain in ("-1", "?", "...") or ".." in plain else _whole(path, what, plain)


def _whole(path: Path, what: str, text: str) -> int:
    number = text.strip()
    digits = number.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise refuse(path, f"{what} has {short(text)!r} in place of a number")
    return int(number)


def _check_order(path: Path, root: Element, names: set[str]) -> None:
    sources: dict[str, list[str]] = {name: [] for name in names}
    for edge in root.iterfind("./edges/edge"):
        source, sink = edge.get("from-layer", ""), edge.get("to-layer", "")
        if source not in names or sink not in names:
            raise refuse(path, f"an edge of it joins {short(source)!r} and {short(sink)!r}")
        sources[sink].append(source)
    check_order(path, "layers", sources)


def check_shapes(path: Path, model: Any) -> None:
    """Refuse a model in which a tensor is too large, as OpenVINO has worked the shapes out.

    Args:
        path: of it.
        model: read, its shapes filled in, and not yet compiled.
    """
    for operation in model.get_ops():
        for output in operation.outputs():
            shape = output.partial_shape
            if not shape.rank.is_dynamic:
                sides = [None if s.is_dynamic else s.get_length() for s in shape]
                # An empty tensor (0) has what else is written of it.
                check_tensor(path, f"layer {short(operation.get_friendly_name())!r}", sides)

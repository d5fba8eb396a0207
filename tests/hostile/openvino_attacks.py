"""Changes to a good ``.xml``, and files that stand where its weights should be."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

Edit = Callable[[str], "str | bytes"]
LAUGHS = (
    "<!DOCTYPE net [<!ENTITY a0 'ha'>"
    + "".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 12))
    + "]>"
)
OUTSIDE = "<!DOCTYPE net [<!ENTITY out SYSTEM 'file:///etc/passwd'>]>"
LAYER = '<layer id="900" name="{name}" type="{kind}" version="{version}">{inner}</layer></layers>'


def sub(pattern: str, text: str) -> Edit:
    """The first match becomes another."""
    return lambda own: re.sub(pattern, lambda match: match.expand(text), own, count=1, flags=re.S)


def typed(kind: str, version: str = "opset1", inner: str = "") -> Edit:
    layer = LAYER.format(name="theirs", kind=kind, version=version, inner=inner)
    return lambda own: own.replace("</layers>", layer, 1)


def declared(head: str, use: str = "") -> Edit:
    return lambda own: re.sub(
        r"<net name=\"[^\"]*\"", lambda m: f'{head}<net name="x{use}"', own, count=1
    )


def constant(key: str, value: str) -> Edit:
    """A value of the first constant's data."""
    return sub(rf'(<data (?=element_type)[^>]*?\b{key}=")[^"]*(")', rf"\g<1>{value}\g<2>")


def parameter(key: str, value: str) -> Edit:
    return sub(rf'(type="Parameter".*?\b{key}=")[^"]*(")', rf"\g<1>{value}\g<2>")


def attribute(key: str, value: str) -> Edit:
    return sub(rf'(type="Convolution".*?\b{key}=")[^"]*(")', rf"\g<1>{value}\g<2>")


def _circle(text: str) -> str:
    first = re.search(r'<layer id="(\d+)" name="[^"]*" type="(?:Convolution|Add)"', text)
    assert first is not None
    return re.sub(
        rf'<edge from-layer="\d+" from-port="(\d+)" to-layer="{first[1]}" to-port="0"',
        rf'<edge from-layer="{first[1]}" from-port="2" to-layer="{first[1]}" to-port="0"',
        text,
        count=1,
    )


def _chain(text: str, length: int = 60_000) -> str:
    """ReLUs behind each other, that lead nowhere."""
    shape = "<dim>1</dim><dim>3</dim><dim>16</dim><dim>16</dim>"
    layers, edges = [], []
    for i in range(1000, 1000 + length):
        layers.append(
            f'<layer id="{i}" name="r{i}" type="ReLU" version="opset1">'
            f'<input><port id="0" precision="FP32">{shape}</port></input>'
            f'<output><port id="1" precision="FP32">{shape}</port></output></layer>'
        )
        source, port = (i - 1, 1) if i > 1000 else (0, 0)
        edges.append(f'<edge from-layer="{source}" from-port="{port}" to-layer="{i}" to-port="0"/>')
    text = text.replace("</layers>", "".join(layers) + "</layers>", 1)
    return text.replace("</edges>", "".join(edges) + "</edges>", 1)


EDITS: dict[str, Edit] = {
    "Loop": typed("Loop", "opset5", "<body><layers/></body>"),
    "TensorIterator": typed("TensorIterator", inner="<body><layers/></body>"),
    "If": typed("If", "opset8", "<then_body/><else_body/>"),
    "another's operator": typed("Theirs", "extension"),
    "another's set": typed("ReLU", "evil"),
    "harmless operator that is not": typed("Nope", "opset1"),
    "laughs": declared(LAUGHS, "&a11;"),
    "laughs that nobody hears": declared(LAUGHS),
    "entity of a file": declared(OUTSIDE, "&out;"),
    "description elsewhere": declared("<!DOCTYPE net SYSTEM 'http://localhost/x.dtd'>"),
    "parameter entity": declared("<!DOCTYPE net [<!ENTITY % p SYSTEM 'file:///etc/passwd'> %p;]>"),
    "depth of 200,000": lambda text: text.replace(
        "</net>", "<x>" * 200_000 + "</x>" * 200_000 + "</net>"
    ),
    "text of 40 MB": lambda text: text.replace("</net>", "x" * (40 << 20) + "</net>"),
    "half a million attributes": lambda text: text.replace(
        "<net ", "<net " + " ".join(f'a{i}="1"' for i in range(500_000)) + " ", 1
    ),
    "half a million layers": lambda text: text.replace(
        "</layers>", '<layer id="1" name="a" type="ReLU" version="opset1"/>' * 500_000 + "</layers>"
    ),
    "chain of 60,000": _chain,
    "no layers": sub(r"<layers>.*</layers>", ""),
    "no edges": sub(r"<edges>.*</edges>", ""),
    "no net": lambda text: "<model/>",
    "circle": _circle,
    "version 999": sub(r'(<net [^>]*version=")\d+', r"\g<1>999"),
    "version -1": sub(r'(<net [^>]*version=")\d+', r"\g<1>-1"),
    "numbers twice": sub(r'(<layer id=")1"', r'\g<1>0"'),
    "edge from nowhere": sub(r'(<edge from-layer=")\d+', r"\g<1>777"),
    "edge to nowhere": sub(r'(to-layer=")\d+', r"\g<1>777"),
    "edge from no port": sub(r'(from-port=")\d+', r"\g<1>77"),
    "edge to a port beyond 64 bits": sub(r'(to-port=")\d+', r"\g<1>99999999999999999999999"),
    "layer without a number": sub(r'<layer id="1" ', "<layer "),
    "offset behind the end": constant("offset", "1000000"),
    "offset beyond 64 bits": constant("offset", "9" * 5000),
    "offset that overflows": constant("offset", "18446744073709551615"),
    "negative offset": constant("offset", "-64"),
    "offset that is no number": constant("offset", "x"),
    "size of 10^12": constant("size", "1000000000000"),
    "size that overflows": constant("size", "18446744073709551615"),
    "size of 0": constant("size", "0"),
    "constant of 10^12": constant("shape", "1000000, 1000000"),
    "constant that overflows": constant("shape", "4294967296, 4294967296, 3"),
    "constant with a negative side": constant("shape", "-10, 3, 3, 3"),
    "constant of text": constant("element_type", "string"),
    "constant of no type": constant("element_type", "f33"),
    "input of text": parameter("element_type", "string"),
    "input of truth": parameter("element_type", "boolean"),
    "input of no type": parameter("element_type", "xyz"),
    "input of rank 0": parameter("shape", ""),
    "input of rank 50": parameter("shape", ",".join(["1"] * 50)),
    "input of 10^12": parameter("shape", "1,3,1000000,1000000"),
    "input that overflows": parameter("shape", "4294967296,4294967296,4294967296,3"),
    "input with a negative side": parameter("shape", "1,3,-16,16"),
    "steps of 0": attribute("strides", "0, 0"),
    "negative steps": attribute("strides", "-1, -1"),
    "steps that overflow": attribute("strides", "99999999999999999999, 1"),
    "spread of 0": attribute("dilations", "0, 0"),
    "border of 10^6": attribute("pads_begin", "1000000, 1000000"),
    "border of 2^62": attribute("pads_end", "4611686018427387904, 4611686018427387904"),
    "border that is no number": attribute("pads_end", "x, y"),
    "name that colours a terminal": sub(r'(type=")Convolution"', r'\g<1>&#x9b;31mNope"'),
    "sign 0": sub(r"<layers>", "&#0;<layers>"),
    "bytes of no encoding": lambda text: text.encode().replace(b"<layers>", b"\xff\xfe<layers>", 1),
    "encoding that is not": lambda text: re.sub(
        r"<\?xml[^>]*\?>", "<?xml version='1.0' encoding='evil'?>", text
    ),
    "letters of a mainframe": lambda text: (
        b"<?xml version='1.0' encoding='cp037'?>"
        + re.sub(r"<\?xml[^>]*\?>", LAUGHS, text).encode("cp037")
    ),
    "two bytes a sign": lambda text: re.sub(r"<\?xml[^>]*\?>", "", text).encode("utf-16"),
}


def _none(place: Path, weights: bytes) -> None:
    place.unlink(missing_ok=True)


def _hole(place: Path, weights: bytes) -> None:
    place.write_bytes(b"")
    os.truncate(place, 100 << 30)


FILES_OF_WEIGHTS: dict[str, Callable[[Path, bytes], object]] = {
    "not there": _none,
    "nothing": lambda place, weights: place.write_bytes(b""),
    "cut": lambda place, weights: place.write_bytes(weights[: len(weights) // 2]),
    "a pipe": lambda place, weights: os.mkfifo(place),
    "a folder": lambda place, weights: place.mkdir(),
    "a link to a device": lambda place, weights: place.symlink_to("/dev/zero"),
    "a link to a pipe": lambda place, weights: place.symlink_to("pipe"),
    "a hole of 100 GiB": _hole,
}

"""An ``.xml`` file of OpenVINO's, read without the runtime."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from edgeresnet.errors import InputError

SUFFIX, WEIGHTS = ".xml", ".bin"
WEIGHTED = ("Convolution", "GroupConvolution", "MatMul")
PRECISIONS = {"FP32": "fp32", "FP16": "fp16", "BF16": "bf16", "FP64": "fp64"}
# What hands its first input on, in another type or shape.
HANDED_ON = ("Result", "Convert", "Reshape", "Squeeze", "Unsqueeze", "Transpose")


def weights_of(path: Path) -> Path | None:
    """The file of weights beside an ``.xml``, in its letters' case; None for another kind of file.

    Raises:
        InputError: it is not there.
    """
    if path.suffix.lower() != SUFFIX:
        return None
    names = [path.with_suffix(suffix) for suffix in (WEIGHTS, WEIGHTS.upper())]
    found = next((name for name in names if name.is_file()), None)
    if found is None and path.is_file():
        raise InputError(
            f"{path} has no weights beside it: there is no {names[0].name}", "copy that file too."
        )
    return found


def weights_beside(path: Path) -> list[str]:
    """The file of weights, without which an ``.xml`` does not load."""
    found = weights_of(path)
    return [] if found is None else [found.name]


def precision_of_file(path: Path) -> str:
    """What a file computes in: ``int8`` where activations are quantized, else its layers' type."""
    root = _root(path)
    if root.find("./layers/layer[@type='FakeQuantize']") is not None:
        return "int8"
    counts: dict[str, int] = {}
    for kind in WEIGHTED:
        for port in root.iterfind(f"./layers/layer[@type='{kind}']/output/port"):
            precision = PRECISIONS.get(port.get("precision", ""), "fp32")
            counts[precision] = counts.get(precision, 0) + 1
    return max(counts, key=counts.__getitem__) if counts else "fp32"


def endings_of_file(path: Path) -> tuple[str, ...]:
    """The operation that makes each output, whatever only hands it on left out."""
    root = _root(path)
    layers = {layer.get("id"): layer.get("type", "") for layer in root.iterfind("./layers/layer")}
    first = {
        edge.get("to-layer"): edge.get("from-layer")
        for edge in root.iterfind("./edges/edge")
        if edge.get("to-port") == "0"
    }
    endings = []
    for place, kind in layers.items():
        if kind == "Result":
            origin: str | None = place
            while layers.get(origin, "") in HANDED_ON:
                origin = first.get(origin)
            endings.append(layers.get(origin, ""))
    return tuple(endings)


def _root(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise InputError(
            f"{path} is no OpenVINO model: {error}", "give the .xml that OpenVINO wrote."
        ) from error

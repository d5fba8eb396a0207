"""An ``.xml`` file of OpenVINO's, read without the runtime."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from edgeresnet.errors import InputError
from edgeresnet.files.places import shortened
from edgeresnet.untrusted import MIB, read_bytes

# A ResNet-152 in INT8 has about 2 MiB, 90,000 tags and as many attributes.
MOST_BYTES, MOST_SIGNS = 32 * MIB, 400_000
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
    root = read_xml(path)
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
    root = read_xml(path)
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
            # Each layer once: what a stranger wrote may go in a circle.
            for _ in layers:
                if layers.get(origin, "") not in HANDED_ON:
                    break
                origin = first.get(origin)
            endings.append(layers.get(origin, ""))
    return tuple(endings)


def read_xml(path: Path) -> ElementTree.Element:
    """The root of a file, of bounded size and without declarations of its own.

    Raises:
        InputError: it is no regular file, too large, or no XML that OpenVINO writes.
    """
    content = read_bytes(path, "model", most_bytes=MOST_BYTES)
    try:
        _check_text(content)
        return ElementTree.fromstring(content)  # noqa: S314 - it declares nothing, as was checked
    except (ElementTree.ParseError, expat.ExpatError, LookupError, ValueError) as error:
        raise InputError(
            f"{shortened(path)} is no OpenVINO model: {error}", "give the .xml that OpenVINO wrote."
        ) from error


def _check_text(content: bytes) -> None:
    """Refuse what would expand, fetch, or hide its signs in another encoding; ValueError says so.

    Nothing is expanded here: no handler of this parser asks for it.
    """
    if b"\0" in content:
        raise ValueError("it is no text in UTF-8")
    if max(content.count(sign) for sign in (b"<", b"=")) > MOST_SIGNS:
        raise ValueError("it has more elements than OpenVINO writes")

    def begins(version: str, encoding: str | None, standalone: int) -> None:
        if (encoding or "utf-8").lower() not in ("utf-8", "us-ascii"):
            raise ValueError("its encoding is not UTF-8")

    def declares(*names: object) -> None:
        raise ValueError("it declares a document type, which OpenVINO never writes")

    parser = expat.ParserCreate()
    parser.XmlDeclHandler = begins
    parser.StartDoctypeDeclHandler = declares
    parser.Parse(content, True)

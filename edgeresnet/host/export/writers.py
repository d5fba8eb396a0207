"""How an encoded graph is written to disk, by the names that `TargetSpec.writer` gives."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir

from edgeresnet.errors import MissingError

# A constant of an ``.xml``: where it lies in the ``.bin``.
_CONSTANT = re.compile(r'offset="(\d+)" size="(\d+)"')


def write_onnx_file(graph: ir.Model, folder: Path, precision: str) -> dict[str, Path]:
    """One ``.onnx`` with the weights inside."""
    path = folder / "model.onnx"
    ir.save(graph, path)
    return {path.name: path}


def write_openvino_ir(graph: ir.Model, folder: Path, precision: str) -> dict[str, Path]:
    """OpenVINO's own ``.xml`` and ``.bin``."""
    import openvino

    onnx_path = folder / "exported.onnx"
    ir.save(graph, onnx_path)
    path = folder / "model.xml"
    openvino.save_model(
        openvino.convert_model(onnx_path), path, compress_to_fp16=precision == "fp16"
    )
    _check_whole(path)
    return {path.name: path, "model.bin": path.with_suffix(".bin")}


def _check_whole(path: Path) -> None:
    """OpenVINO does not look whether the disk took what it writes.

    Raises:
        MissingError: an ``.xml`` or its ``.bin`` ends too early.
    """
    text = path.read_text(encoding="utf-8")
    ends = (int(start) + int(size) for start, size in _CONSTANT.findall(text))
    if not text.rstrip().endswith("</net>") or path.with_suffix(".bin").stat().st_size < max(
        ends, default=0
    ):
        raise MissingError(
            f"the model cannot be written whole into the temporary folder {path.parent}",
            "make room there, or set TMPDIR to a folder on a disk with room.",
        )


# Each returns the files by their names in a bundle; the first is the one that the runtime opens.
WRITERS: dict[str, Callable[[ir.Model, Path, str], dict[str, Path]]] = {
    "onnx_file": write_onnx_file,
    "openvino_ir": write_openvino_ir,
}

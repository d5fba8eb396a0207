"""How an encoded graph is written to disk, by the names that `TargetSpec.writer` gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir


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
    return {path.name: path, "model.bin": path.with_suffix(".bin")}


# Each returns the files by their names in a bundle; the first is the one that the runtime opens.
WRITERS: dict[str, Callable[[ir.Model, Path, str], dict[str, Path]]] = {
    "onnx_file": write_onnx_file,
    "openvino_ir": write_openvino_ir,
}

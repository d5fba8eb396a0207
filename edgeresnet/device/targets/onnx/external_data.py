"""Where an ONNX file keeps weights that are not in it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from edgeresnet.device.targets.onnx.graph_file import read_graph


def files_beside(path: Path) -> list[str]:
    """The files without which an ``.onnx`` does not load, by paths from its folder."""
    locations = dict.fromkeys(one.location for one in read_graph(path).all_weights())
    paths = [PurePosixPath(name) for name in locations if name]
    return [str(path) for path in paths if not path.is_absolute() and ".." not in path.parts]

"""Where an ONNX file keeps weights that are not in it."""

from __future__ import annotations

from pathlib import Path

from edgeresnet.device.targets.onnx.graph_file import read_graph
from edgeresnet.device.targets.stranger import check_beside


def files_beside(path: Path) -> list[str]:
    """The files without which an ``.onnx`` does not load, by paths from its folder.

    Raises:
        InputError: one of them is not in its folder, or no regular file.
    """
    weights = read_graph(path).all_weights()
    names = dict.fromkeys(one.location for one in weights if one.location is not None)
    for name in names:
        check_beside(path, name)
    return list(names)

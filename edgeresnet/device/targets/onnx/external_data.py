"""Where an ONNX file keeps weights that are not in it."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

# StringStringEntryProto: field 1 "location", then field 2 with its length, of one byte.
LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])", re.DOTALL)


def files_beside(path: Path) -> list[str]:
    """The files without which an ``.onnx`` does not load, by paths from its folder."""
    return external_files(path.read_bytes())


def external_files(onnx_content: bytes) -> list[str]:
    """Where an ONNX file says that its weights are, by paths from its own folder.

    Args:
        onnx_content: the file; its `TensorProto.external_data` are pairs of key and value, of
            which ``location`` is the path. A device has no package that reads them.
    """
    locations = dict.fromkeys(
        onnx_content[match.end() : match.end() + match[1][0]].decode(errors="replace")
        for match in LOCATION.finditer(onnx_content)
    )
    paths = [PurePosixPath(name) for name in locations]
    return [str(path) for path in paths if not path.is_absolute() and ".." not in path.parts]

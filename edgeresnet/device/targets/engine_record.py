"""Engines of QNN and OpenVINO on disk, each with a record of what it was made of, and for what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeresnet.device.targets.protocol import Kernel
from edgeresnet.files import sha256_bytes, write_bytes

RECORD = ".json"


def write_engine(path: Path, content: bytes, model_path: Path, facts: dict[str, Any]) -> Path:
    """Write an engine and its record, in place of an older one.

    Args:
        path: of the engine; the record is beside it.
        content: the engine.
        model_path: what it was compiled from.
        facts: device and versions that it is for; with ``layers``, the kernels in it.
    """
    record_path = path.with_name(path.name + RECORD)
    # Without its record an engine is not loaded, so a broken-off write leaves none that is.
    record_path.unlink(missing_ok=True)
    write_bytes(content, path)
    record = {
        "schema": 1,
        **facts,
        "model_sha256": sha256_bytes(model_path.read_bytes()),
        "engine_sha256": sha256_bytes(content),
        "size_bytes": len(content),
    }
    record_path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path


def engine_fits(path: Path, model_path: Path, facts: dict[str, Any]) -> str | None:
    """Why the engine at ``path`` is not one of this model for these facts; None if it is."""
    if not path.is_file():
        return "there is none"
    try:
        record = json.loads(path.with_name(path.name + RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "it has no record, so nothing says where it comes from, and engines are code"
    for name, wanted in facts.items():
        if record.get(name) != wanted:
            return f"its {name} is {record.get(name)}, and {wanted} is here"
    if record.get("model_sha256") != sha256_bytes(model_path.read_bytes()):
        return "it was built from another model"
    if record.get("engine_sha256") != sha256_bytes(path.read_bytes()):
        return "it is not the file that was built (its sha256 differs)"
    return None


def read_kernels(path: Path) -> list[Kernel]:
    """What the record of a fitting engine says it is made of."""
    record = json.loads(path.with_name(path.name + RECORD).read_text(encoding="utf-8"))
    return [Kernel(**{**facts, "layers": tuple(facts["layers"])}) for facts in record["layers"]]


def describe_engines(engine_dir: Path) -> list[dict[str, Any]]:
    """The records of all engines of a folder, without their layers."""
    records = []
    for path in sorted(engine_dir.glob(f"*{RECORD}")):
        record = json.loads(path.read_text(encoding="utf-8"))
        record.pop("layers", None)
        records.append({"file": path.name.removesuffix(RECORD), **record})
    return records

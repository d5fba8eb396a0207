"""Engines of QNN and OpenVINO on disk, each with a record of what it was made of, and for what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import ConfigDict, Field
from typing_extensions import NotRequired, TypedDict

from edgeresnet.device.targets.protocol import ENGINES, Kernel
from edgeresnet.errors import InputError
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.files.writing import atomic, writing
from edgeresnet.settings.measuring import RunOptions
from edgeresnet.untrusted import MIB, read_bytes, read_record, short

RECORD = ".json"
# An engine holds the weights once, and TensorRT's some kernels: far less than a GiB.
MOST_ENGINE_BYTES = 4096 * MIB
FIX = "build the engine again: edgeresnet build BUNDLE."

Word = Annotated[str, Field(max_length=200)]
Name = Annotated[str, Field(max_length=4096)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class KernelRecord(TypedDict):
    """`edgeresnet.device.targets.protocol.Kernel`."""

    op: Name
    precision: Word
    unit: Word
    layers: list[Name]


class EngineHead(TypedDict):
    """What every target's record says; the facts of each stand beside it."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    schema: Annotated[int, Field(ge=1, le=1)]
    device: Word
    model_sha256: Hash
    engine_sha256: Hash


class BuiltRecord(EngineHead):
    """What `write_engine` writes."""

    size_bytes: Annotated[int, Field(ge=0)]
    layers: NotRequired[list[KernelRecord]]


def engine_dir_of(model_path: Path, options: RunOptions) -> Path:
    """Where the engines of a model lie."""
    return options.engine_dir or model_path.parent / ENGINES


def record_path_of(engine_path: Path) -> Path:
    """Where the record of an engine lies: beside it."""
    return engine_path.with_name(engine_path.name + RECORD)


def write_with_record(path: Path, content: bytes, record: str) -> Path:
    """Write an engine and its record, both or none, in place of older ones; the engine's path.

    Raises:
        MissingError: there is no room for them, or they cannot be written.
    """
    # An engine that its record does not describe is not loaded, whenever this is broken off.
    with (
        writing(path.parent, "engines folder"),
        atomic(path, follow=False) as engine,
        atomic(record_path_of(path), follow=False) as about,
    ):
        engine.write_bytes(content)
        about.write_text(record, encoding="utf-8", errors="backslashreplace")
    return path


def read_content(path: Path, what: str = "engine") -> bytes:
    """The bytes of an engine, or of what else a build has left.

    Raises:
        InputError: it is no regular file, or larger than any is.
    """
    return read_bytes(path, what, most_bytes=MOST_ENGINE_BYTES)


def write_engine(path: Path, content: bytes, model_path: Path, facts: dict[str, Any]) -> Path:
    """Write an engine and its record, in place of an older one.

    Args:
        path: of the engine; the record is beside it.
        content: the engine.
        model_path: what it was compiled from.
        facts: device and versions that it is for; with ``layers``, the kernels in it.
    """
    record = {
        "schema": 1,
        **facts,
        "model_sha256": sha256_bytes(model_path.read_bytes()),
        "engine_sha256": sha256_bytes(content),
        "size_bytes": len(content),
    }
    return write_with_record(path, content, json.dumps(record, indent=2) + "\n")


def engine_fits(path: Path, model_path: Path, facts: dict[str, Any]) -> str | None:
    """Why the engine at ``path`` is not one of this model for these facts; None if it is."""
    if not path.is_file():
        return "there is none"
    if not record_path_of(path).is_file():
        return "it has no record, so nothing says where it comes from, and engines are code"
    try:
        record = _record(path)
    except InputError as error:
        return error.cause
    for name, wanted in facts.items():
        if record.get(name) != wanted:
            return f"its {name} is {short(record.get(name))}, and {wanted} is here"
    if record["model_sha256"] != sha256_bytes(model_path.read_bytes()):
        return "it was built from another model"
    if record["engine_sha256"] != sha256_bytes(read_content(path)):
        return "it is not the file that was built (its sha256 differs)"
    return None


def read_kernels(path: Path) -> list[Kernel]:
    """What the record of a fitting engine says it is made of."""
    kernels = cast("list[KernelRecord]", _record(path).get("layers", []))
    return [Kernel(k["op"], k["precision"], k["unit"], tuple(k["layers"])) for k in kernels]


def describe_engines(engine_dir: Path) -> list[dict[str, Any]]:
    """The records of all engines of a folder, without their layers.

    Raises:
        InputError: one of them is none.
    """
    records = []
    for path in sorted(engine_dir.glob(f"*{RECORD}")):
        record: dict[str, Any] = {**read_record(path, EngineHead, "engine record", FIX)}
        record.pop("layers", None)
        records.append({"file": path.name.removesuffix(RECORD), **record})
    return records


def _record(engine_path: Path) -> dict[str, Any]:
    path = record_path_of(engine_path)
    return {**read_record(path, BuiltRecord, "engine record", FIX)}

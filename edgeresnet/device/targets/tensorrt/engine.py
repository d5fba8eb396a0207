"""Engines on disk: each with a record of what made it, and loaded only where that fits.

An engine is code for one kind of device, and TensorRT runs what it is given. So one is loaded
only if its bytes are those that its record names, and it was made of this very model.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from edgeresnet.device.targets.engine_record import (
    FIX,
    RECORD,
    EngineHead,
    Hash,
    Name,
    Word,
    read_content,
    record_path_of,
    write_with_record,
)
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.untrusted import parse_record, read_bytes

ENGINE = ".engine"
Version = Annotated[str, Field(pattern=r"^\d{1,9}(\.\d{1,9}){0,5}$")]
# Its engines may be built ahead of time, with no GPU: the rest is compiled on the GPU itself.
ANY_GPU = "tensorrt-rtx"


@dataclass(frozen=True)
class Host:
    """Where engines run.

    Attributes:
        product: ``tensorrt`` or ``tensorrt-rtx``.
        version: TensorRT's, as ``10.3.0``.
        machine: the processor's architecture.
        gpu: its name; None without one.
        compute_capability: as ``8.7``; None without a GPU.
        driver: newest CUDA version of the driver; None without a GPU.
    """

    product: str
    version: str
    machine: str = platform.machine()
    gpu: str | None = None
    compute_capability: str | None = None
    driver: str | None = None


class HostOnDisk(TypedDict):
    """`Host`, as a record has it."""

    product: Word
    version: Version
    machine: Word
    gpu: Word | None
    compute_capability: Version | None
    driver: Version | None


class LayerOnDisk(TypedDict):
    """`edgeresnet.device.targets.tensorrt.layers.EngineLayer`, as a record has it."""

    name: Name
    op: Name
    inputs: list[Word]
    weights: Word | None
    outputs: list[Word]
    layers: list[Name]
    unit: NotRequired[Word]


class RecordOnDisk(EngineHead):
    """`EngineRecord`, as it stands beside an engine."""

    host: HostOnDisk
    flags: list[Name]
    batch: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=3, max_length=3)]
    version_compatible: bool
    hardware_compatible: bool
    timing_cache_sha256: Hash | None
    layers: list[LayerOnDisk]


@dataclass(frozen=True)
class EngineRecord:
    """What an engine was made of, where, and how; the JSON file beside it.

    Attributes:
        device: ``gpu`` or ``dla0``, ``dla1``.
        host: where it was built; TensorRT-RTX's are for any GPU if that has none.
        model_sha256: of the ONNX file.
        engine_sha256: of the engine.
        flags: of the builder, by TensorRT's names.
        batch: smallest, best and largest.
        version_compatible: also loads in later TensorRTs of the same major version.
        hardware_compatible: also loads on other GPUs from Ampere on.
        timing_cache_sha256: of the timing cache that it left; None if it left none.
        layers: what TensorRT made of the model, as `EngineLayer` has it.
    """

    device: str
    host: Host
    model_sha256: str
    engine_sha256: str
    flags: tuple[str, ...]
    batch: tuple[int, int, int]
    version_compatible: bool
    hardware_compatible: bool
    timing_cache_sha256: str | None
    layers: tuple[dict[str, Any], ...]

    @property
    def precision(self) -> str:
        """``int8`` if any layer reads int8, else the coarsest float that one reads."""
        types = {kind for layer in self.layers for kind in layer["inputs"]}
        return next((kind for kind in ("int8", "fp16", "bf16") if kind in types), "fp32")

    def to_json(self) -> str:
        """JSON text, indented so that people can read it."""
        return json.dumps({"schema": 1, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, content: bytes | str) -> EngineRecord:
        """The inverse of `to_json`; ValueError, with the reasons, if it is not one."""
        values = parse_record(content, RecordOnDisk)
        known: dict[str, Any] = {name: dict(values)[name] for name in cls.__dataclass_fields__}
        for name in ("flags", "batch", "layers"):
            known[name] = tuple(known[name])
        return cls(**{**known, "host": Host(**values["host"])})

    def misfit(self, host: Host, device: str) -> str | None:
        """Why the engine does not run on ``device`` of ``host``; None if it does."""
        if self.device != device:
            return f"it is for {self.device}"
        if self.host.product != host.product:
            return f"it is {self.host.product}'s, and {host.product} is here"
        if self.host.machine != host.machine:
            return f"it was built on {self.host.machine}, and this is {host.machine}"
        return self._version_misfit(host) or self._gpu_misfit(host)

    def _version_misfit(self, host: Host) -> str | None:
        built, here = _numbers(self.host.version), _numbers(host.version)
        if built == here or (self.version_compatible and built[:1] == here[:1] and built < here):
            return None
        return f"it was built by TensorRT {self.host.version}, and {host.version} is here"

    def _gpu_misfit(self, host: Host) -> str | None:
        ahead = self.host.compute_capability is None
        if ahead and self.host.product != ANY_GPU:
            return "its record names no GPU, and of engines only TensorRT-RTX's fit any"
        if host.compute_capability is None:
            return "there is no NVIDIA GPU here"
        if self.host.compute_capability is None:
            return None
        built, here = _numbers(self.host.compute_capability), _numbers(host.compute_capability)
        if self.hardware_compatible and built >= (8, 0) and here >= (8, 0):
            return None
        if built != here or self.host.gpu != host.gpu:
            return (
                f"it was built for {self.host.gpu} (compute capability "
                f"{self.host.compute_capability}), and this is {host.gpu} "
                f"({host.compute_capability})"
            )
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def engine_name(host: Host, device: str) -> str:
    """File name that engines of different hosts do not share."""
    where = f"sm{host.compute_capability.replace('.', '')}" if host.compute_capability else "any"
    return f"{device}-{where}-{host.product}-{host.version}-{host.machine}{ENGINE}"


def write_engine(engine_dir: Path, plan: bytes, record: EngineRecord) -> Path:
    """Write an engine and its record, in place of an older one; the engine's path."""
    path = engine_dir / engine_name(record.host, record.device)
    return write_with_record(path, plan, record.to_json())


def read_record(engine_path: Path) -> EngineRecord:
    """The record beside an engine; InputError if there is none or it is damaged."""
    path = record_path_of(engine_path)
    if not path.exists():
        raise InputError(
            f"{engine_path} has no record beside it, so nothing says where it comes from; engines "
            "are code",
            "build it here: edgeresnet build BUNDLE.",
        )
    content = read_bytes(path, "engine record")
    try:
        return EngineRecord.from_json(content)
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}", FIX) from error


def find_engine(
    model_path: Path, device: str, host: Host, engine_dir: Path | None = None
) -> tuple[Path, EngineRecord]:
    """The bundle's engine for a device of this host.

    Raises:
        MissingError: none fits; says why each does not, and how to build one.
    """
    bundle_dir = model_path.parent
    wanted = sha256_bytes(model_path.read_bytes())
    reasons = []
    for path in sorted((engine_dir or bundle_dir / "engines").glob(f"*{ENGINE}")):
        try:
            record = read_record(path)
        except InputError as error:
            reasons.append(error.cause)
            continue
        why = record.misfit(host, device)
        if why is None and record.model_sha256 != wanted:
            why = "it was built from another model"
        if why is None:
            return path, record
        reasons.append(f"{path.name}: {why}")
    raise MissingError(
        f"{bundle_dir} has no engine for {device} here"
        + (f" ({'; '.join(reasons)})" if reasons else ""),
        f"build one on this device: edgeresnet build {bundle_dir} --device {device}.",
    )


def read_engine(path: Path, record: EngineRecord) -> bytes:
    """The bytes of an engine; InputError if they are not those that its record names."""
    plan = read_content(path)
    if sha256_bytes(plan) != record.engine_sha256:
        raise InputError(
            f"{path} is not the engine that was built (its sha256 differs), and engines are code",
            "build it again: edgeresnet build BUNDLE.",
        )
    return plan


def known_cache(engine_dir: Path, cache_path: Path) -> bytes:
    """A kept timing cache, if an engine of this folder has left it; else empty."""
    if not cache_path.is_file():
        return b""
    content = read_content(cache_path, "timing cache")
    vouched = sha256_bytes(content)
    engines = (path.with_suffix("") for path in engine_dir.glob(f"*{ENGINE}{RECORD}"))
    return content if any(_vouches(path, vouched) for path in engines) else b""


def _vouches(engine_path: Path, timing_cache: str) -> bool:
    """Whether an engine's record names a timing cache; a damaged one names none."""
    try:
        return read_record(engine_path).timing_cache_sha256 == timing_cache
    except InputError:
        return False

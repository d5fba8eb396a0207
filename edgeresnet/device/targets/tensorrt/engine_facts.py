"""What an engine without a bundle tells, by its record: TensorRT opens it only where it runs."""

from __future__ import annotations

from pathlib import Path

from edgeresnet.device.targets.engine_record import RECORD
from edgeresnet.device.targets.model_facts import ModelFacts
from edgeresnet.device.targets.tensorrt.engine import read_engine, read_record
from edgeresnet.errors import InputError


def describe_engine(path: Path, image_size: int | None) -> ModelFacts:
    """From the engine's record; InputError if there is none, or the engine is another."""
    if image_size is not None:
        raise InputError(
            f"{path} does not tell its image size, so --image-size has no effect", "leave it out."
        )
    record = read_record(path)
    read_engine(path, record)
    layers = [
        {
            "name": layer["name"], "op": layer["op"], "out_channels": None, "macs": None,
            "parameters": None, "precision": next(iter(layer["inputs"]), None),
        }
        for layer in record.layers
        if layer["weights"] is not None
    ]  # fmt: skip
    return ModelFacts(None, None, [layer["op"] for layer in record.layers], layers, None)


def engine_precision(path: Path) -> str:
    """What the record says that it computes in."""
    return read_record(path).precision


def record_beside(path: Path) -> list[str]:
    """The record, without which an engine is refused."""
    return [f"{path.name}{RECORD}"]

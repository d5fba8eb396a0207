"""PyTorch's exporter takes seconds for any network; tests ask for the same graphs often.

A graph follows from the network's shape; the weights are only carried along. So one that was
exported is kept without them, for all tests and command lines of a run, and gets those of the
network that is asked for. `tests/test_graphs.py` holds it to what the exporter writes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import FunctionType
from typing import Any

import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

from edgeresnet.host.export import canonical_graph

# Names the folder in which the workers and the command lines of one run of the tests keep graphs.
FOLDER = "EDGERESNET_TEST_GRAPHS"


class _UnlikeError(Exception):
    """Something of which it is not known whether the graph depends on it."""


def named_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers, by the names that the exporter gives them."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def shape_of(model: nn.Module, *asked: Any) -> str:
    """A hash of all on which a graph depends: modules, their code and attributes, not the weights.

    Of the weights it has shapes, types, which of them are equal (the exporter lets those share one
    tensor) and which are all 0 or all 1 (what is done with those might be left out).

    Raises:
        _UnlikeError: the network has an attribute that is not plain.
    """
    tensors = named_tensors(model)
    known = {id(tensor): name for name, tensor in tensors.items()}
    equal: dict[tuple[Any, ...], str] = {}
    told: list[Any] = []
    for name, tensor in tensors.items():
        values = tensor.detach().numpy()
        same = (str(tensor.dtype), tuple(tensor.shape), values.tobytes())
        neutral = [number for number in (0, 1) if (values == number).all()]
        told.append((name, *same[:2], equal.setdefault(same, name), neutral))
    told.append([_plain(value, known) for value in (model, *asked)])
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _plain(value: Any, known: dict[int, str]) -> Any:
    """What `repr` tells in full, and the same in every process."""
    if value is None or isinstance(value, (bool, int, float, str, torch.dtype)):
        return value
    if isinstance(value, torch.Tensor):
        if id(value) in known:
            return "tensor", known[id(value)]
        return str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes()
    if isinstance(value, dict):
        return [(_plain(key, known), _plain(held, known)) for key, held in value.items()]
    if isinstance(value, (list, tuple)):
        return [_plain(held, known) for held in value]
    if isinstance(value, (set, frozenset)):
        return sorted(repr(_plain(held, known)) for held in value)
    if isinstance(value, nn.Module):
        return _code(type(value)), _plain(vars(value), known)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f.name, _plain(getattr(value, f.name), known)) for f in dataclasses.fields(value)]
    raise _UnlikeError(type(value))


def _code(kind: type) -> list[Any]:
    """Where each function of a module's own classes is from: a test may have put another there."""
    own = [base for base in kind.__mro__ if base.__module__.startswith("edgeresnet.")]
    return [kind.__qualname__] + [
        (name, part.__module__, part.__qualname__, part.__code__.co_firstlineno)
        for base in own
        for name, part in vars(base).items()
        if isinstance(part, FunctionType)
    ]


def without_weights(graph: ir.Model, model: nn.Module) -> bytes | None:
    """The graph as bytes with `model`'s tensors left empty; None where it has others of weight."""
    tensors = named_tensors(model)
    proto = ir.to_proto(graph)
    for initializer in proto.graph.initializer:
        held = onnx.numpy_helper.to_array(initializer)
        if initializer.name in tensors:
            own = tensors[initializer.name].detach().numpy()
            if own.dtype != held.dtype or own.tobytes() != held.tobytes():
                return None
            initializer.ClearField("raw_data")
        elif held.dtype.kind != "i":  # shapes and axes do not come from weights
            return None
    return proto.SerializeToString()


def with_weights(kept: bytes, model: nn.Module) -> ir.Model:
    """The graph again, with the tensors of `model`."""
    tensors = named_tensors(model)
    graph: ir.Model = ir.from_proto(onnx.ModelProto.FromString(kept))
    for name, value in graph.graph.initializers.items():
        if name in tensors:
            value.const_value = ir.tensor(tensors[name].detach().numpy().copy(), name=name)
    return graph


Export = Callable[[Any, torch.Tensor, Any], ir.Model]


def remembering(real: Export, folder: Path) -> Export:
    """`real`, called only for networks of which no graph lies in the folder."""

    @functools.wraps(real)
    def export(model: Any, images: torch.Tensor, batch: Any) -> ir.Model:
        try:
            place = folder / shape_of(model, tuple(images.shape), batch)
        except _UnlikeError:
            return real(model, images, batch)
        if place.exists():
            return with_weights(place.read_bytes(), model)
        graph = real(model, images, batch)
        kept = without_weights(graph, model)
        if kept is not None:
            # Another process may be at the same; one that may not write here goes without.
            with suppress(OSError):
                with NamedTemporaryFile(dir=folder, delete=False) as file:
                    file.write(kept)
                Path(file.name).replace(place)
        return graph

    return export


@contextmanager
def remembered_graphs() -> Iterator[None]:
    """Export a network of the same shape only once in this run of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            canonical_graph,
            "_export",
            remembering(canonical_graph._export, Path(os.environ[FOLDER])),
        )
        yield


def keep_operators() -> None:
    """Let PyTorch list the operators of ONNX once in this process, and not for every export."""
    real, kept = ONNXRegistry.from_torchlib, dict[Any, ONNXRegistry]()

    def from_torchlib(*values: Any, **options: Any) -> ONNXRegistry:
        asked = (values, *sorted(options.items()))
        if asked not in kept:
            kept[asked] = real(*values, **options)
        copied = ONNXRegistry()
        copied._opset_version = kept[asked].opset_version
        copied.functions = {name: [*metas] for name, metas in kept[asked].functions.items()}
        return copied

    ONNXRegistry.from_torchlib = staticmethod(from_torchlib)  # type: ignore

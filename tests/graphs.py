"""PyTorch's exporter takes seconds for any network; tests ask for the same graphs often.

A graph follows from how the network is built. Weights, how many bits they have, how wide layers
are, how many images at once, and where nothing but logits comes out how many classes and how large
images, are only carried along, until the exporter's last passes let equal tensors share one. So a
graph is kept as it is before those, without weights, for all tests and command lines of a run; it
gets the weights and sizes of the network that is asked for, and goes through these passes.
`tests/test_graphs.py` holds it to what the exporter writes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import FunctionType
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx_ir.passes import common as passes
from torch import nn
from torch._export import utils as operators
from torch.onnx._internal.exporter._registration import ONNXRegistry

from edgeresnet.host.export import canonical_graph
from edgeresnet.host.models.fake_quant import WEIGHTS
from tests.conftest import GRAPHS

# (classes, features); the features are the width of the last stage.
CLASSIFIER = "fc.weight"
# Of a network, whatever grid its weights are on.
WEIGHT_BITS = "weight_bits"
# Of tensors with four axes; a constant with larger numbers may tell a size.
MOST_AXIS = 4


class _UnlikeError(Exception):
    """Something of which it is not known whether the graph depends on it."""


def named_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers, by the names that the exporter gives them."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def structure_of(model: nn.Module, *asked: Any) -> str:
    """A hash of all on which a graph depends: modules, their code and attributes, not the weights.

    Of the weights it has names and types, and which biases are all 0 or all 1 (what is done with
    those might be left out).

    Raises:
        _UnlikeError: the network has an attribute that is not plain.
    """
    tensors = named_tensors(model)
    known = {id(tensor): name for name, tensor in tensors.items()}
    told: list[Any] = []
    for name, tensor in tensors.items():
        values = tensor.detach().numpy()
        carried = tensor.ndim > 1 or name.endswith(".scale")
        neutral = [number for number in (0, 1) if (values == number).all()]
        told.append((name, str(tensor.dtype), tensor.ndim, [] if carried else neutral))
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
        held = {key: told for key, told in vars(value).items() if key != WEIGHT_BITS}
        if held.get("kind") in WEIGHTS.values():
            held["kind"] = WEIGHT_BITS
        return _code(type(value)), _plain(held, known)
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


class _Kept:
    """A graph before equal tensors share one, and the names and shapes of its two ends."""

    def __init__(self) -> None:
        self.before: onnx.ModelProto | None = None

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Take what the exporter has before the first of its last passes."""
        real, kept = passes.DeduplicateInitializersPass, self

        class Looking(real):  # type: ignore[misc, valid-type]
            def call(self, model: ir.Model) -> ir.passes.PassResult:
                kept.before = ir.to_proto(model)
                return super().call(model)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(passes, "DeduplicateInitializersPass", Looking)
            yield

    def without_weights(self, exported: ir.Model, model: nn.Module) -> bytes | None:
        """It in bytes, with `model`'s tensors left empty; None where it has others of weight."""
        proto, tensors = self.before, named_tensors(model)
        if proto is None:
            return None
        flat = _flat_shapes(proto)
        for initializer in proto.graph.initializer:
            held = onnx.numpy_helper.to_array(initializer)
            if initializer.name in tensors:
                own = tensors[initializer.name].detach().numpy()
                if own.dtype != held.dtype or own.tobytes() != held.tobytes():
                    return None
                initializer.ClearField("raw_data")
            # Axes do not come from weights, nor from how wide a layer is.
            elif initializer.name not in flat and (
                held.dtype.kind != "i" or np.abs(held).max(initial=0) > MOST_AXIS
            ):
                return None
        # Of inner tensors the shapes are those of this network; canonical_graph forgets them too.
        stored = {initializer.name for initializer in proto.graph.initializer}
        own_values = [value for value in proto.graph.value_info if value.name in stored]
        del proto.graph.value_info[:]
        proto.graph.value_info.extend(own_values)
        final = ir.to_proto(exported)
        for ends, own_ends in (
            (final.graph.input, proto.graph.input),
            (final.graph.output, proto.graph.output),
        ):
            proto.metadata_props.extend(
                onnx.StringStringEntryProto(key=own.name, value=end.SerializeToString().hex())
                for end, own in zip(ends, own_ends, strict=True)
            )
        return proto.SerializeToString()


def _flat_shapes(proto: onnx.ModelProto) -> set[str]:
    """The names of what tells Reshape to leave (N, features) for the classifier."""
    return {node.input[1] for node in proto.graph.node if node.op_type == "Reshape"}


def _with_shape(told: onnx.ValueInfoProto, tensor: torch.Tensor) -> onnx.ValueInfoProto:
    """The same of a tensor of another shape."""
    kind = told.type.tensor_type.elem_type
    found = onnx.helper.make_tensor_value_info(told.name, kind, tuple(tensor.shape))
    found.metadata_props.extend(told.metadata_props)
    return found


def _gives_logits(kept: bytes, classes: int) -> bool:
    """Whether rows of so many numbers are all that comes out."""
    proto = onnx.ModelProto.FromString(kept)
    ends = {told.key: told.value for told in proto.metadata_props}
    outputs = [bytes.fromhex(ends[output.name]) for output in proto.graph.output]
    told = [onnx.ValueInfoProto.FromString(end).type.tensor_type.shape.dim for end in outputs]
    return len(told) == 1 and len(told[0]) == 2 and told[0][1].dim_value == classes


def with_weights(
    kept: bytes, model: nn.Module, images: Sequence[int], classes: int | None
) -> ir.Model:
    """The graph that the exporter gives of `model`, without shapes of inner tensors.

    Args:
        images: the shape of those it is asked for with, (N, 3, H, W).
        classes: that its only output has; None: its outputs are of the shapes that are kept.
    """
    tensors = named_tensors(model)
    proto = onnx.ModelProto.FromString(kept)
    ends = {
        told.key: onnx.ValueInfoProto.FromString(bytes.fromhex(told.value))
        for told in proto.metadata_props
    }
    del proto.metadata_props[:]
    for told in proto.graph.value_info:
        if told.name in tensors:
            told.CopyFrom(_with_shape(told, tensors[told.name]))
    flat = _flat_shapes(proto)
    for initializer in proto.graph.initializer:
        if initializer.name in tensors:
            own = tensors[initializer.name].detach().numpy()
            initializer.CopyFrom(onnx.numpy_helper.from_array(own, initializer.name))
        elif initializer.name in flat:
            shape = onnx.numpy_helper.to_array(initializer).copy()
            shape[-1] = tensors[CLASSIFIER].shape[1]
            if shape[0] > 0:
                shape[0] = images[0]
            initializer.CopyFrom(onnx.numpy_helper.from_array(shape, initializer.name))
    graph: ir.Model = ir.from_proto(proto)
    for last in (
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    ):
        last(graph)
    for value in graph.graph.inputs:
        dims = ends[str(value.name)].type.tensor_type.shape.dim
        dims[2].dim_value, dims[3].dim_value = images[2:]
    if classes is not None:
        (output,) = graph.graph.outputs
        ends[str(output.name)].type.tensor_type.shape.dim[1].dim_value = classes
    for value in (*graph.graph.inputs, *graph.graph.outputs):
        dims = ends[str(value.name)].type.tensor_type.shape.dim
        if dims[0].HasField("dim_value"):
            dims[0].dim_value = images[0]
        end = ir.from_proto(ends[str(value.name)])
        value.name, value.shape, value.type = end.name, end.shape, end.type
        value.metadata_props.update(end.metadata_props)
    return graph


Export = Callable[[Any, torch.Tensor, Any], ir.Model]


def remembering(real: Export, folder: Path) -> Export:
    """`real`, called only for networks of which no graph lies in the folder."""

    @functools.wraps(real)
    def export(model: Any, images: torch.Tensor, batch: Any) -> ir.Model:
        try:
            of_logits = folder / structure_of(model, batch.dynamic)
        except _UnlikeError:
            return real(model, images, batch)
        classes = len(named_tensors(model)[CLASSIFIER])
        sizes = "x".join(map(str, images.shape))
        of_this = folder / f"{of_logits.name}-{classes}-{sizes}"
        for place, told in ((of_logits, classes), (of_this, None)):
            if place.exists():
                return with_weights(place.read_bytes(), model, images.shape, told)
        looked = _Kept()
        with looked.looking():
            graph = real(model, images, batch)
        kept = looked.without_weights(graph, model)
        if kept is not None:
            # Another process may be at the same; one that may not write here goes without.
            with suppress(OSError):
                with NamedTemporaryFile(dir=folder, delete=False) as file:
                    file.write(kept)
                Path(file.name).replace(of_logits if _gives_logits(kept, classes) else of_this)
        return graph

    return export


@contextmanager
def remembered_graphs() -> Iterator[None]:
    """Export a network of the same structure only once in this run of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            canonical_graph,
            "_export",
            remembering(canonical_graph._export, Path(os.environ[GRAPHS])),
        )
        yield


def keep_operators() -> None:
    """Let PyTorch list operators, its own and ONNX's, once in this process, not at each export."""
    operators._materialize_cpp_cia_ops = functools.cache(operators._materialize_cpp_cia_ops)
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

"""PyTorch's exporter takes seconds for any network; tests ask for the same graphs often."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import onnx_ir as ir
import pytest
import torch
from torch.onnx._internal.exporter._registration import ONNXRegistry

from edgeresnet.host.export import canonical_graph

# Of all graphs that are kept.
MOST_BYTES = 2**28


class _Exact(pickle.Pickler):
    """Writes the same for the same: PyTorch's own form of a tensor differs from time to time."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return NotImplemented
        told = (str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes())
        return tuple, (told,)


def exact_key(*values: Any) -> str:
    """A hash of every attribute and each weight."""
    written = io.BytesIO()
    _Exact(written).dump(values)
    return hashlib.sha256(written.getvalue()).hexdigest()


@contextmanager
def remembered_graphs() -> Iterator[None]:
    """Export the same network (every attribute and weight of it) to the same input only once."""
    real, kept = canonical_graph._export, dict[str, bytes]()

    def export(model: Any, images: torch.Tensor, batch: Any) -> ir.Model:
        key = exact_key(model, images, batch)
        if key not in kept:
            graph = real(model, images, batch)
            kept[key] = ir.to_proto(graph).SerializeToString()
            while sum(map(len, kept.values())) > MOST_BYTES:
                del kept[next(iter(kept))]
            return graph
        again: ir.Model = ir.from_proto(onnx.ModelProto.FromString(kept[key]))
        return again

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canonical_graph, "_export", export)
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

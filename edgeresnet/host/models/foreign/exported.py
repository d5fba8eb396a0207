"""The weights of a program that ``torch.export.save`` wrote (``.pt2``), of which nothing is run.

They are raw numbers beside a JSON text of their shapes; what is a pickle there is refused. The
program is a JSON text too, and says what no tensor shows.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import NotRequired, TypedDict

from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.damage import refused_if_damaged
from edgeresnet.host.models.foreign.program_facts import STEM, STRIDE_IN_1X1
from edgeresnet.settings.network import STEMS, StemShape
from edgeresnet.untrusted import parse_record, short

_WEIGHTS, _CONSTANTS, _PROGRAM = (
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
    "models/model.json",
)
# Numbers of torch's ``torch/_export/serde/schema.py``, ``ScalarType``.
_DTYPES = {5: torch.int64, 6: torch.float16, 7: torch.float32, 8: torch.float64,
           13: torch.bfloat16}  # fmt: skip
# What a plain ResNet computes, in whatever form it was traced.
_PLAIN = frozenset({
    "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "add", "batch_norm", "conv2d", "convolution",
    "_native_batch_norm_legit_no_training", "dropout", "flatten", "linear", "addmm", "t", "permute",
    "max_pool2d", "max_pool2d_with_indices", "mean", "relu", "view", "reshape", "squeeze",
    "detach", "alias", "getitem",
})  # fmt: skip
_FIX = ("save the weights alone, where you trust the file: "
        "torch.save(torch.export.load(FILE).state_dict, 'weights.pth').")  # fmt: skip


class _Int(TypedDict):
    as_int: int


class _Meta(TypedDict):
    dtype: int
    sizes: list[_Int]
    strides: list[_Int]
    storage_offset: _Int


class _Weight(TypedDict):
    path_name: str
    use_pickle: bool
    tensor_meta: _Meta


class _Weights(TypedDict):
    config: dict[str, _Weight]


class _Constants(TypedDict):
    config: dict[str, Any]


class _Name(TypedDict):
    name: str


class _Argument(TypedDict):
    as_tensor: NotRequired[_Name]
    as_ints: NotRequired[list[int]]


class _Input(TypedDict):
    name: str
    arg: _Argument


class _Node(TypedDict):
    target: str
    inputs: list[_Input]


class _Nodes(TypedDict):
    nodes: list[_Node]


class _Parameter(TypedDict):
    arg: _Name
    parameter_name: str


class _InputSpec(TypedDict):
    parameter: NotRequired[_Parameter]


class _Signature(TypedDict):
    input_specs: list[_InputSpec]


class _Graph(TypedDict):
    graph: _Nodes
    signature: _Signature


class _Program(TypedDict):
    graph_module: _Graph


def is_exported(names: set[str]) -> bool:
    """Whether these are the files of such an archive, without its folder."""
    return "archive_format" in names


def read_exported(path: Path) -> dict[str, Any]:
    """Tensors by the names that the program's state_dict has, and its geometry.

    Raises:
        InputError: it computes what a plain ResNet does not, or its weights are no plain numbers.
    """
    with refused_if_damaged(path), zipfile.ZipFile(path) as archive:
        inside = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    if not {_WEIGHTS, _PROGRAM} <= set(inside):
        raise _refused(path, "has no weights beside it")
    try:
        graph = parse_record(inside[_PROGRAM], _Program)["graph_module"]
        constants = parse_record(inside.get(_CONSTANTS, b'{"config": {}}'), _Constants)["config"]
        configured = parse_record(inside[_WEIGHTS], _Weights)["config"]
    except ValueError as error:
        raise _refused(path, f"is damaged: {error}") from error
    if constants:
        raise _refused(path, f"computes with {short(', '.join(constants))}, no weight of a ResNet")
    tensors = {
        name: _tensor(inside.get(f"data/weights/{one['path_name']}", b""), one, name, path)
        for name, one in configured.items()
    }
    return {**tensors, **_geometry(graph, tensors, path)}


def _refused(path: Path, what: str) -> InputError:
    return InputError(f"{path} is a program of torch.export that {what}", _FIX)


def _tensor(raw: bytes, one: _Weight, name: str, path: Path) -> Tensor:
    meta = one["tensor_meta"]
    if one["use_pickle"] or meta["dtype"] not in _DTYPES:
        raise _refused(path, f"has {short(name)} as no plain numbers")
    dtype = _DTYPES[meta["dtype"]]
    sizes, strides = (
        [part["as_int"] for part in parts] for parts in (meta["sizes"], meta["strides"])
    )
    offset, count = meta["storage_offset"]["as_int"], math.prod(sizes)
    there = len(raw) // dtype.itemsize
    least = min([offset, *sizes, *strides], default=0)
    # Numbers that overlap would be copied as often as the shape says.
    if least < 0 or count > there or len(sizes) != len(strides) or len(raw) % dtype.itemsize:
        raise _refused(path, f"has fewer numbers in {short(name)} than its shape says")
    if not count:
        raise _refused(path, f"has no number in {short(name)}")
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if last >= there:
        raise _refused(path, f"has fewer numbers in {short(name)} than its shape says")
    flat = torch.frombuffer(bytearray(raw), dtype=dtype)
    return torch.as_strided(flat, sizes, strides, offset).clone()


def _geometry(graph: _Graph, tensors: dict[str, Tensor], path: Path) -> dict[str, Any]:
    """The stem, and where blocks have strides; InputError where a plain ResNet has none such."""
    parameters = {
        own["arg"]["name"]: own["parameter_name"]
        for spec in graph["signature"]["input_specs"]
        if (own := spec.get("parameter"))
    }
    convolutions: list[tuple[int, int]] = []
    pool = False
    for node in graph["graph"]["nodes"]:
        # As torch.ops.aten.relu_.default, whose last part is the overload.
        target = node["target"].removeprefix("torch.ops.aten.")
        name = target.partition(".")[0].rstrip("_")
        if name not in _PLAIN and target.rpartition(".")[2] not in _PLAIN:
            raise _refused(path, f"has {short(node['target'])}, which a plain ResNet does not have")
        pool |= name.startswith("max_pool2d")
        if name in ("conv2d", "convolution"):
            convolutions.append(_convolution(node, parameters, tensors, path))
    if not convolutions:
        return {}
    shape = StemShape(*convolutions[0], pool)
    stem = next((name for name, known in STEMS.items() if known == shape), None)
    if stem is None:
        raise _refused(path, f"begins with a {shape.words}, which no stem here is")
    return {STEM: stem, STRIDE_IN_1X1: (3, 2) not in convolutions[1:]}


def _convolution(
    node: _Node, parameters: dict[str, str], tensors: dict[str, Tensor], path: Path
) -> tuple[int, int]:
    """Kernel and stride."""
    given = {one["name"]: one["arg"] for one in node["inputs"]}
    named = given.get("weight", {}).get("as_tensor", {"name": ""})["name"]
    weight = tensors.get(parameters.get(named, ""))
    if weight is None or weight.ndim != 4:
        raise _refused(path, "has a convolution without its weight")
    if max(given.get("dilation", {}).get("as_ints") or [1]) > 1:
        raise _refused(path, "dilates a convolution, which a plain ResNet does not")
    stride = given.get("stride", {}).get("as_ints") or [1]
    return weight.shape[-1], max(stride)

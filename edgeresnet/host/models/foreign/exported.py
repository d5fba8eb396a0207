"""The weights of a program that ``torch.export.save`` wrote (``.pt2``), of which nothing is run.

They are raw numbers beside a JSON text of their shapes; what is a pickle there is refused. The
program is a JSON text too, and says what no tensor shows.
"""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.program_facts import STEM, STRIDE_IN_1X1
from edgeresnet.settings.network import STEMS, StemShape

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


def is_exported(names: set[str]) -> bool:
    """Whether these are the files of such an archive, without its folder."""
    return "archive_format" in names


def read_exported(path: Path) -> dict[str, Any]:
    """Tensors by the names that the program's state_dict has, and its geometry.

    Raises:
        InputError: it computes what a plain ResNet does not, or its weights are no plain numbers.
    """
    with zipfile.ZipFile(path) as archive:
        inside = {name.partition("/")[2]: name for name in archive.namelist()}
        if not {_WEIGHTS, _PROGRAM} <= set(inside):
            raise _refused(path, "has no weights beside it")
        graph = json.loads(archive.read(inside[_PROGRAM]))["graph_module"]
        if _CONSTANTS in inside and (own := json.loads(archive.read(inside[_CONSTANTS]))["config"]):
            raise _refused(path, f"computes with {', '.join(own)}, no weight of a ResNet")
        tensors = {
            name: _tensor(archive.read(inside[f"data/weights/{one['path_name']}"]), one, name, path)
            for name, one in json.loads(archive.read(inside[_WEIGHTS]))["config"].items()
        }
    return {**tensors, **_geometry(graph, tensors, path)}


def _refused(path: Path, what: str) -> InputError:
    return InputError(f"{path} is a program of torch.export that {what}", _FIX)


def _tensor(raw: bytes, one: dict[str, Any], name: str, path: Path) -> Tensor:
    meta = one["tensor_meta"]
    if one["use_pickle"] or meta["dtype"] not in _DTYPES:
        raise _refused(path, f"has {name} as no plain numbers")
    dtype = _DTYPES[meta["dtype"]]
    sizes, strides = ([part["as_int"] for part in meta[key]] for key in ("sizes", "strides"))
    offset = meta["storage_offset"]["as_int"]
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    flat = torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)
    if min([offset, *sizes, *strides], default=0) < 0 or (math.prod(sizes) and last >= len(flat)):
        raise _refused(path, f"has fewer numbers in {name} than its shape says")
    return torch.as_strided(flat, sizes, strides, offset).clone()


def _geometry(graph: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> dict[str, Any]:
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
        target = str(node["target"]).removeprefix("torch.ops.aten.")
        name = target.partition(".")[0].rstrip("_")
        if name not in _PLAIN and target.rpartition(".")[2] not in _PLAIN:
            raise _refused(path, f"has {node['target']}, which a plain ResNet does not have")
        pool |= name.startswith("max_pool2d")
        if name in ("conv2d", "convolution"):
            given = {one["name"]: one["arg"] for one in node["inputs"]}
            weight = tensors[parameters[given["weight"]["as_tensor"]["name"]]]
            if max(given.get("dilation", {}).get("as_ints") or [1]) > 1:
                raise _refused(path, "dilates a convolution, which a plain ResNet does not")
            stride = given.get("stride", {}).get("as_ints") or [1]
            convolutions.append((weight.shape[-1], max(stride)))
    if not convolutions:
        return {}
    shape = StemShape(*convolutions[0], pool)
    stem = next((name for name, known in STEMS.items() if known == shape), None)
    if stem is None:
        raise _refused(path, f"begins with a {shape.words}, which no stem here is")
    return {STEM: stem, STRIDE_IN_1X1: (3, 2) not in convolutions[1:]}

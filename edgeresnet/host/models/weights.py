"""What the tensors of a checkpoint must be: plain numbers that stand in the file, and finite."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from edgeresnet.device.machine.cpu import default_threads
from edgeresnet.errors import InputError
from edgeresnet.host.models.shapes import COUNTER, Shape
from edgeresnet.untrusted import MIB, short

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_AGAIN = "copy or download the file again, or make it again."
_DIVERGED = "training diverged: give an earlier checkpoint."


def kind_fault(tensor: Tensor) -> str | None:
    """Why this is no tensor of plain numbers in memory; None: it is."""
    # Of the others not even the size can be asked.
    if tensor.is_nested:
        return "nested"
    if tensor.layout is not torch.strided:
        return f"sparse ({str(tensor.layout).removeprefix('torch.')})"
    if tensor.is_quantized:
        return f"quantized ({str(tensor.dtype).removeprefix('torch.')})"
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        return f"a {type(tensor).__name__}"
    if tensor.device.type != "cpu":
        return f"on the device {tensor.device}, without numbers"
    return "a view that negates" if tensor.is_neg() or tensor.is_conj() else None


def check_floats(name: str, tensor: Tensor, source: str) -> None:
    """Refuse what is no finite floating-point weight, by the tensor's name.

    Raises:
        InputError: another kind or type, NaN or infinite values, or a negative variance.
    """
    kind = kind_fault(tensor)
    if kind is not None or tensor.dtype not in FLOATS:
        what = kind or str(tensor.dtype)
        raise InputError(
            f"{source}: {short(name)} is {what}, and no floating-point weights"
            if kind
            else f"{source}: {short(name)} holds {what}, no floating-point weights",
            "give the float checkpoint that was quantized.",
        )
    if not torch.isfinite(tensor).all():
        raise InputError(f"{source}: {short(name)} has NaN or infinite values", _DIVERGED)
    if name.endswith("running_var") and tensor.numel() and tensor.min() < 0:
        raise InputError(f"{source}: {short(name)} has a negative variance", _AGAIN)


def check_in_file(tensors: Iterable[Tensor], source: str) -> None:
    """Refuse a network whose tensors are larger than what is stored of them.

    Raises:
        InputError: they repeat the same numbers (stride 0, or one storage for many).
    """
    kept = list(tensors)
    stored = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    needed = sum(t.numel() * t.element_size() for t in kept)
    if needed > sum(stored.values()) + MIB:
        raise InputError(
            f"{source} has tensors of {needed >> 20} MiB, and numbers for "
            f"{sum(stored.values()) >> 20} MiB: they repeat the same ones",
            "save each tensor with numbers of its own: tensor.clone().",
        )


def check_tensors(tensors: Mapping[str, Any], shapes: Mapping[str, Shape], source: str) -> None:
    """Refuse a state_dict of ours that is not the one of its network.

    Args:
        tensors: of a float or quantized network.
        shapes: that they must have.
        source: the file's name, for messages.

    Raises:
        InputError: names the tensor that is missing, too many, or malformed.
    """
    for name in shapes:
        if name not in tensors:
            raise InputError(f"{source} lacks the tensor {name}", _AGAIN)
    for name, tensor in tensors.items():
        if not isinstance(name, str) or name not in shapes:
            raise InputError(f"{source} has the tensor {short(name)}, which its network has not",
                             _AGAIN)  # fmt: skip
        if not isinstance(tensor, Tensor):
            raise InputError(f"{source}: {name} is no tensor", _AGAIN)
    plain = {name: tensor for name, tensor in tensors.items() if kind_fault(tensor) is None}
    for name, tensor in plain.items():
        wanted = torch.int64 if name.endswith(COUNTER) else torch.float32
        if tensor.dtype != wanted:
            raise InputError(
                f"{source}: {name} holds {tensor.dtype}, and in a checkpoint of ours {wanted}",
                _AGAIN,
            )
        if tuple(tensor.shape) != shapes[name]:
            raise InputError(
                f"{source}: {name} has shape {short(tuple(tensor.shape))}, and its network needs "
                f"{shapes[name]}",
                _AGAIN,
            )
        if not tensor.is_contiguous():
            raise InputError(f"{source}: {name} repeats its numbers, or skips some", _AGAIN)
    check_in_file(plain.values(), source)
    for name, tensor in tensors.items():
        if name not in plain or not name.endswith(COUNTER):
            check_floats(name, tensor, source)


def weights_digest(state_dict: Mapping[str, Tensor]) -> str:
    """Hex digest of all weights, in their order; keys of earlier runs are made of it."""
    digest = hashlib.sha256()
    for tensor in state_dict.values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def digest_of(tensors: Mapping[str, Tensor], start: bytes = b"") -> str:
    """SHA-256 over some bytes and each tensor's name, type, shape and numbers; 64 hex digits.

    Each tensor is hashed on its own, several at once: hashlib lets other threads run.
    """
    digest = hashlib.sha256(start)
    with ThreadPoolExecutor(min(4, default_threads())) as pool:
        parts = pool.map(_digest, tensors.values())
        for (name, tensor), part in zip(tensors.items(), parts, strict=True):
            digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
            digest.update(part)
    return digest.hexdigest()


def _digest(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).digest()


def tree_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 over plain values and tensors in each other, 64 hex digits."""
    return hashlib.sha256(json.dumps(content, default=_in_words).encode()).hexdigest()


def _in_words(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)} {_digest(value).hex()}"
    return repr(value)


def check_moments(optimizer: torch.optim.Optimizer) -> None:
    """ValueError where a loaded state is not of the optimizer's own parameters."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.ndim and value.shape != parameter.shape:
                raise ValueError(f"its {name} has shape {tuple(value.shape)}")

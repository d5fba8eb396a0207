"""The tensors of a network: which ResNet they are, and that nothing else is among them.

Architecture, stem, widths and class count are read off the tensors; nobody has to say them. A
tensor that the ResNet would not use is refused by its name, unless it is known to change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.harmless import is_harmless, likely
from edgeresnet.host.models.foreign.heads import Head, find_head
from edgeresnet.host.models.foreign.layers import (
    absent_blocks,
    conv_and_norm,
    nearest_arch,
    tensors_of,
)
from edgeresnet.host.models.foreign.wrappers import Found
from edgeresnet.host.models.headless import classes_among
from edgeresnet.host.models.resnet import ARCHS, Arch, Widths
from edgeresnet.host.models.shapes import COUNTER, float_shapes
from edgeresnet.host.models.weights import check_floats, check_in_file
from edgeresnet.settings.network import stem_shape, stems_of

_FIX = f"give a checkpoint of {', '.join(ARCHS)} in torchvision's plain form."
_OTHER = "this is another architecture: give a plain ResNet's checkpoint."
_LEVEL = re.compile(r"^(conv1|bn1|layer\d+)\.")
_SHOWN = 4
# As many tensors too many or too few make no other depth of a network.
_FEW = 12


@dataclass(frozen=True)
class Identity:
    """Which ResNet the tensors are of.

    Attributes:
        arch: a name in `edgeresnet.host.models.resnet.ARCHS`.
        stem: a name in `edgeresnet.settings.network.STEMS`.
        widths: channels of every tensor.
        tensors: torchvision's state_dict, in the file's order.
        notes: lines on what was made of the file's tensors or left out.
        had_biases: whether its convolutions had biases, which are folded now.
    """

    arch: str
    stem: str
    widths: Widths
    tensors: dict[str, Tensor]
    notes: tuple[str, ...]
    had_biases: bool = False


def identify(found: Found, source: str, stem: str | None = None) -> Identity:
    """Read architecture, stem and widths off the tensors, and check that all fit.

    Args:
        found: the tensors.
        source: the file's name, for messages.
        stem: told by the user; None: what its kernel usually means.

    Raises:
        InputError: names the tensor that is too many, missing, or of another shape.
    """
    arch = nearest_arch(found.tensors)
    own = {name for name in found.tensors if name in tensors_of(arch)}
    biases = {f"{conv}.bias" for conv, _ in conv_and_norm(arch) if f"{conv}.bias" in found.tensors}
    rest, notes = _without_harmless(found, own | biases)
    _check_names(found, arch, own, rest, source)
    head = find_head(rest, source, found.origin.head)
    if head is not None:
        left = {name: t for name, t in rest.items() if name not in head.names}
        _refuse_unknown(left, (), source, beside=f" (beside the classifier {head.names[0]})")
    tensors = _renamed(found, own | biases, head)
    _check_values(tensors, found.names, source)
    if biases:
        _fold_biases(tensors, biases, arch, found.names, source)
        notes.append(f"{len(biases)} biases of convolutions folded into the normalization behind")
    if gone := absent_blocks(arch, own):
        notes.append(f"without the blocks {', '.join(gone)}, which the file does not have")
    stem = _stem(tensors, found.names, source, stem)
    widths = _check_shapes(tensors, arch, stem, found.names, source)
    check_in_file(tensors.values(), source)
    listed = (*found.notes, *notes, *(head.notes if head else ()))
    return Identity(arch.name, stem, widths, tensors, listed, bool(biases))


def _without_harmless(found: Found, own: set[str]) -> tuple[dict[str, Tensor], list[str]]:
    """What is not of the network's levels, by its name in the file; a line on what is left out."""
    rest = {found.names[n]: t for n, t in found.tensors.items() if n not in own} | found.beside
    harmless = [
        name
        for name, tensor in rest.items()
        if is_harmless(name.removeprefix(found.container), tensor,
                       beside=not name.startswith(found.container))
    ]  # fmt: skip
    notes = [f"left out, because logits do not need it: {_listed(harmless)}"] if harmless else []
    return {name: t for name, t in rest.items() if name not in harmless}, notes


def _check_names(
    found: Found, arch: Arch, own: set[str], rest: Mapping[str, Tensor], source: str
) -> None:
    """Refuse what is too many inside the network's levels, and what is missing there."""
    gone = absent_blocks(arch, own)
    missing = [
        name
        for name in tensors_of(arch)
        if name not in own
        and not name.endswith("num_batches_tracked")
        and not any(name.startswith(f"{block}.") for block in gone)
    ]
    file_names = {found.names[n] for n in found.tensors if _LEVEL.match(n)}
    unknown = {name: t for name, t in rest.items() if name in file_names}
    depths = _depths(found.tensors)
    differing = len(missing) + len(unknown)
    if depths != arch.depths and (differing > _FEW or not differing):
        kind = "bottleneck" if arch.bottleneck else "basic"
        raise InputError(
            f"{source} is a ResNet with {depths} {kind} blocks, which none of "
            f"{', '.join(ARCHS)} has",
            "give a checkpoint of one of these.",
        )
    if unknown or missing:
        if not unknown and any("the raw weights in" in note for note in found.notes):
            raise InputError(
                f"{source}: its {found.weights} lack {_listed(missing)}",
                "take the weights themselves: --raw.",
            )
        heads = {n.removesuffix("weight") for n, t in rest.items() if t.ndim == 2}
        others = {
            name: tensor
            for name, tensor in rest.items()
            if name not in unknown and f"{name.rpartition('.')[0]}." not in heads
        }
        _refuse_unknown({**unknown, **(others if missing else {})}, missing, source)


def _refuse_unknown(
    unknown: Mapping[str, Tensor], missing: Sequence[str], source: str, *, beside: str = ""
) -> None:
    """Refuse tensors by their names, with what they probably are."""
    if not unknown and not missing:
        return
    causes = []
    if unknown:
        what = likely(unknown)
        causes.append(
            f"has {_listed(list(unknown))}{beside}: {what}"
            + ("" if what.startswith("which") else "?")
        )
    if missing:
        causes.append(f"lacks {_listed(missing)}")
    raise InputError(
        f"{source} {', and '.join(causes)}",
        "without it the answers would be others: " + _FIX
        if unknown
        else "the file is incomplete, or has another normalization (running_mean and running_var "
        "are batch normalization's): make it again.",
    )


def _renamed(found: Found, own: set[str], head: Head | None) -> dict[str, Tensor]:
    """The network's tensors in the file's order, the head as ``fc``."""
    if head is None:
        return {name: tensor for name, tensor in found.tensors.items() if name in own}
    tensors: dict[str, Tensor] = {}
    made = {head.names[0]: ("fc.weight", head.weight)}
    if len(head.names) > 1:
        made[head.names[1]] = ("fc.bias", head.bias)
    for name, tensor in found.tensors.items():
        if name in own:
            tensors[name] = tensor
        elif found.names[name] in made:
            new, value = made[found.names[name]]
            tensors[new] = value
    for new, value in (("fc.weight", head.weight), ("fc.bias", head.bias)):
        tensors.setdefault(new, value)
    return tensors


def _check_values(tensors: dict[str, Tensor], names: Mapping[str, str], source: str) -> None:
    """Finite floats, and counters of one number; the floats become float32."""
    for name, tensor in tensors.items():
        told = names.get(name, name)
        if name.endswith(COUNTER):
            if tensor.numel() != 1:
                raise InputError(
                    f"{source}: {told} has shape {tuple(tensor.shape)}, and is one number in a "
                    "ResNet",
                    _FIX,
                )
            tensors[name] = tensor.reshape(())
            continue
        check_floats(told, tensor, source)
        tensors[name] = tensor.float()
        if tensor.dtype == torch.float64:
            check_floats(told, tensors[name], source)  # float32 has a smaller range


def _fold_biases(
    tensors: dict[str, Tensor], biases: set[str], arch: Arch, names: Mapping[str, str], source: str
) -> None:
    """``BN(y + b)`` is ``BN(y)`` with b taken off its mean: exact, but for float32's rounding."""
    for conv, norm in conv_and_norm(arch):
        if f"{conv}.bias" not in biases:
            continue
        bias, mean = tensors.pop(f"{conv}.bias"), tensors[f"{norm}.running_mean"]
        if bias.shape != mean.shape:
            raise InputError(
                f"{source}: {names[f'{conv}.bias']} has shape {tuple(bias.shape)}, and the "
                f"normalization behind it {tuple(mean.shape)}",
                _FIX,
            )
        tensors[f"{norm}.running_mean"] = (mean.double() - bias.double()).float()


def _stem(
    tensors: Mapping[str, Tensor], names: Mapping[str, str], source: str, told: str | None
) -> str:
    shape = tuple(tensors["conv1.weight"].shape)
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or shape[2] not in (3, 7):
        channels = f", for images of {shape[1]} channels" if len(shape) == 4 else ""
        raise InputError(
            f"{source} has a first convolution {names['conv1.weight']} of shape {shape}{channels}",
            "give a checkpoint whose first convolution is 3x3 or 7x7 for the three channels of "
            "RGB.",
        )
    if told is not None and stem_shape(told).kernel != shape[2]:
        raise InputError(
            f"{source} has a first convolution {names['conv1.weight']} of shape {shape}, and "
            f"--stem {told} means a {stem_shape(told).words}",
            f"give one of {', '.join(stems_of(shape[2]))}, or leave it out.",
        )
    return told or stems_of(shape[2])[0]


def _check_shapes(
    tensors: dict[str, Tensor], arch: Arch, stem: str, names: Mapping[str, str], source: str
) -> Widths:
    _check_convolutions(tensors, arch, names, source)
    widths = Widths.of(tensors, arch.name)
    classes = classes_among(tensors)
    if not classes and "fc.weight" in tensors:
        raise InputError(f"{source}: {names.get('fc.weight', 'fc.weight')} has no classes", _FIX)
    for name, wanted in float_shapes(arch.name, stem, widths, classes).items():
        if name.endswith(COUNTER):
            tensors.setdefault(name, torch.tensor(0))
            continue
        shape = tuple(tensors[name].shape)
        if shape == wanted:
            continue
        grouped = len(shape) == len(wanted) == 4 and shape[0] == wanted[0] and shape[1] < wanted[1]
        raise InputError(
            f"{source}: {names.get(name, name)} has shape {shape}, and {arch.name} needs {wanted}"
            + (" (grouped convolutions, as in a ResNeXt?)" if grouped else ""),
            _OTHER,
        )
    return widths


def _check_convolutions(
    tensors: Mapping[str, Tensor], arch: Arch, names: Mapping[str, str], source: str
) -> None:
    """Refuse, by name, convolutions that give others channels than their normalization takes."""
    for conv, norm in conv_and_norm(arch):
        if f"{conv}.weight" not in tensors:
            continue
        shape = tuple(tensors[f"{conv}.weight"].shape)
        mean = tuple(tensors[f"{norm}.running_mean"].shape)
        if len(shape) != 4 or (shape[0],) != mean:
            raise InputError(
                f"{source}: {names[f'{conv}.weight']} has shape {shape}, and the normalization "
                f"behind it ({names[f'{norm}.running_mean']}) {mean}",
                _OTHER,
            )


def _depths(names: Mapping[str, Tensor] | set[str]) -> tuple[int, ...]:
    """Blocks of each level, by the highest number."""
    numbers = [
        (int(m[1]), int(m[2])) for n in names if (m := re.match(r"layer(\d)\.(\d{1,6})\.", n))
    ]
    return tuple(
        max((block for of, block in numbers if of == level), default=-1) + 1
        for level in range(1, 5)
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

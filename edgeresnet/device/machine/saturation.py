"""Whether 8-bit products saturate on a processor.

x86 without VNNI multiplies uint8 by int8 and adds pairs of products in int16, saturating: two
activations of 255 by weights that are together more than 128 give another sum, and logits go wrong
without any message. VNNI, AMX and Arm's dot products add in 32 bits.
Source: Intel, "Intrinsics Guide": ``_mm256_maddubs_epi16`` and ``_mm256_dpbusd_epi32``.
"""

from __future__ import annotations

import platform
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from edgeresnet.device.machine.board import ROOT
from edgeresnet.device.machine.environment import cpu_flags, cpu_name
from edgeresnet.errors import InputError
from edgeresnet.untrusted import read_record

X86 = ("x86_64", "amd64", "x86", "i386", "i686")
# Of x86: with one of these, products are added in 32 bits.
WIDE_SUMS = frozenset({"avx_vnni", "avx512_vnni", "amx_int8"})
# Two weights that are together no larger never saturate: 255 x 128 is 32,640.
LARGEST_PAIR = 128
ANY = "any"

_Words = Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=1000)]


class _Environment(TypedDict):
    machine: Annotated[str, Field(max_length=100)]
    cpu_flags: _Words


class _Devices(TypedDict):
    environment: _Environment


def products_saturate(machine: str, flags: Collection[str]) -> bool:
    """Of a processor, by its architecture and those of its instructions that we ask for.

    Args:
        machine: as `platform.machine` says it.
        flags: of `edgeresnet.device.machine.environment.cpu_flags`; where none can be read, x86
            is taken to saturate.
    """
    return machine.lower() in X86 and not WIDE_SUMS.intersection(flags)


def saturates_here(root: Path = ROOT) -> bool:
    """`products_saturate` of this machine."""
    return products_saturate(platform.machine(), cpu_flags(root))


def saturates_on(device: str | Path | None) -> bool:
    """`products_saturate` of the processor that is named.

    Args:
        device: None: this machine's; ``any``: some do; else a file that ``devices --json`` wrote.

    Raises:
        InputError: the file is not such a file.
    """
    if device is None:
        return saturates_here()
    if str(device) == ANY:
        return True
    fix = "write it on the device: edgeresnet devices --json FILE; or give any."
    told = read_record(Path(device), _Devices, "description of the device", fix)["environment"]
    return products_saturate(told["machine"], told["cpu_flags"])


def check_products(what: str, *, safe: bool | None, device: str) -> None:
    """Refuse, before it is loaded, a model whose sums saturate on this processor.

    Args:
        what: the bundle, for the message.
        safe: whether no sum of its 8-bit products can saturate; None: nobody says.
        device: that it is opened on.

    Raises:
        InputError: they can, and here they do.
    """
    if safe is False and device == "cpu" and saturates_here():
        raise InputError(
            f"{what} has 8-bit weights whose sums saturate on this processor ({cpu_name()} has no "
            "VNNI): its logits would be wrong",
            "export it for this machine: edgeresnet export CKPT --for-device any, or a FILE that "
            "edgeresnet devices --json FILE writes here.",
        )

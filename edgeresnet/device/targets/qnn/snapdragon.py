"""Qualcomm's systems on a chip, as the compiler of Hexagon's context binaries names them."""

from __future__ import annotations

from dataclasses import dataclass

from edgeresnet.errors import InputError


@dataclass(frozen=True)
class Soc:
    """A chip with a Hexagon NPU.

    Attributes:
        name: as in ``--device``.
        soc_model: QNN's number for it.
        htp_arch: generation of its NPU, as in v75.
    """

    name: str
    soc_model: int
    htp_arch: int
    sold_as: str = ""


SOCS = {
    soc.name: soc
    for soc in (
        Soc("sm8350", 30, 68, "Snapdragon 888"),
        Soc("sm8450", 36, 69, "Snapdragon 8 Gen 1"),
        Soc("sm8475", 42, 69, "Snapdragon 8+ Gen 1"),
        Soc("sm8550", 43, 73, "Snapdragon 8 Gen 2"),
        Soc("sm8650", 57, 75, "Snapdragon 8 Gen 3"),
        Soc("sm8750", 69, 79, "Snapdragon 8 Elite"),
        Soc("sm8850", 87, 81, "Snapdragon 8 Elite Gen 5"),
        Soc("sa8295", 39, 68, "Snapdragon Cockpit"),
    )
}


def soc_of(device: str) -> Soc:
    """The chip of that name, or of free numbers ``SOC_MODEL:HTP_ARCH``.

    Raises:
        InputError: neither; lists the known ones.
    """
    if device.lower() in SOCS:
        return SOCS[device.lower()]
    model, _, arch = device.partition(":")
    if model.isdigit() and arch.isdigit():
        return Soc(f"soc{model}-v{arch}", int(model), int(arch))
    known = ", ".join(f"{soc.name} ({soc.sold_as})" for soc in SOCS.values())
    raise InputError(
        f"{device} is no device of target qnn",
        f"give --device npu, one of {known}, or any other chip as SOC_MODEL:HTP_ARCH, such as "
        "57:75.",
    )

"""What is told of a network that knows itself."""

from __future__ import annotations

from edgeresnet.errors import InputError
from edgeresnet.host.models.resnet import arch_of, check_has_choice
from edgeresnet.settings.network import NetworkTold


def check_told(arch: str, own: NetworkTold, told: NetworkTold, source: str) -> None:
    """Refuse to be told another network of what knows its own, or what has no effect on it.

    Args:
        arch: its architecture.
        own: its stem and strides.
        told: what the user says.
        source: its name, for messages.

    Raises:
        InputError: they differ, or its blocks leave no choice.
    """
    if told.stride_in is not None:
        check_has_choice(arch_of(arch))
    for name, given in vars(told).items():
        if given is not None and given != (has := getattr(own, name)):
            option = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{source} knows its network: {arch} with {name.replace('_', ' ')} {has}, and "
                f"not {option} {given}",
                f"leave out {option}.",
            )

"""Collects what is wrong with settings, so that one message tells all of it."""

from __future__ import annotations

from typing import Any, get_args

from edgeresnet.errors import InputError


class SettingFaults:
    """What is wrong with some settings, told together and not one by one."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    def unless(self, right: bool, cause: str, fix: str) -> None:
        """Keep a fault, unless the setting is right."""
        if not right:
            self._found.append((cause, fix))

    def one_of(self, name: str, value: str, choices: Any) -> None:
        """The value must be one of a ``Literal``."""
        known = get_args(choices)
        fix = f"give {name} as {' or '.join(known)}."
        self.unless(value in known, f"{name} {value} is not known", fix)

    def at_least(self, name: str, value: float | None, smallest: int) -> None:
        """The value must not be smaller; None is fine."""
        fix = f"give {name} of {smallest} or more."
        self.unless(value is None or value >= smallest, f"{name} {value} is too small", fix)

    def share(self, name: str, value: float | None) -> None:
        """The value must lie from 0 to 1; None is fine."""
        right = value is None or 0 <= value <= 1
        self.unless(right, f"{name} {value} is not in [0, 1]", f"give {name} from 0 to 1.")

    def raise_any(self) -> None:
        """Raise one InputError for all faults, if there is any."""
        if self._found:
            causes, fixes = zip(*self._found, strict=True)
            raise InputError(", and ".join(causes), " ".join(dict.fromkeys(fixes)))

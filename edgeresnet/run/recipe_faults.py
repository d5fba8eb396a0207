"""All that is wrong with a recipe, told at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from edgeresnet.errors import EdgeResNetError, InputError, MissingError

# That a message lists.
MOST_FAULTS = 30


def listing(what: str, lines: Sequence[str]) -> InputError:
    """The one error for all faults."""
    shown = [f"  {line}" for line in lines[:MOST_FAULTS]]
    more = len(lines) - len(shown)
    listed = "\n".join([*shown, *([f"  and {more} more"] if more else [])])
    return InputError(f"{what} has {len(lines)} fault(s):\n{listed}", "mend these keys.")


@dataclass
class Faults:
    """Errors by the recipe's key that they are about, collected and not raised one by one."""

    by_key: list[tuple[str, EdgeResNetError]] = field(default_factory=list)

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Keep an error that the body raises."""
        try:
            yield
        except (InputError, MissingError) as error:
            self.by_key.append((key, error))

    def lines(self) -> list[str]:
        """One text for each fault, without repetitions."""
        texts = (f"{key}: {error.cause}; {error.fix}" for key, error in self.by_key)
        return list(dict.fromkeys(texts))

    def raise_any(self, what: str) -> None:
        """Raise one error for all, if there is any: InputError if one of them is."""
        if not self.by_key:
            return
        lines = self.lines()
        if any(isinstance(error, InputError) for _, error in self.by_key):
            raise listing(what, lines)
        listed = "\n".join(f"  {line}" for line in lines)
        raise MissingError(
            f"{what} needs what is not here:\n{listed}",
            "install it, or take those keys out of the recipe; nothing was run.",
        )

"""What a terminal's encoding cannot print, told in letters that it can."""

from __future__ import annotations

import codecs
import io
import sys
from typing import TYPE_CHECKING, Any

from edgeresnet.untrusted import visible

if TYPE_CHECKING:
    from rich.console import Console

NAME = "edgeresnet-plain"
PLAIN = {
    "·": "-", "–": "-", "—": "-", "−": "-", "•": "*", "…": "...", "±": "+/-", "×": "x", "→": "->",
    "≤": "<=", "≥": ">=", "°": " deg ", "’": "'", "“": '"', "”": '"', "─": "-", "━": "-",
    "│": "|", "┃": "|", "╸": "-", "╺": "-",
}  # fmt: skip


def use_plain_text() -> None:
    """Let stdout and stderr print whatever there is: a sign that they lack in plain letters.

    A file name's byte that is no text, and letters of other languages, stand as ``\\xe9``.
    """
    codecs.register_error(NAME, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=NAME)


def say(text: str) -> None:
    """Lines on stderr, in its own encoding: `typer.echo` would write UTF-8 where that is ASCII."""
    print(visible(text), file=sys.stderr, flush=True)


def say_error(label: str, cause: str, fix: str) -> None:
    """A message of two parts: a name of several lines in one cannot pretend to be the other."""
    say("\n".join(_indented(f"{start}: {text}") for start, text in ((label, cause), ("fix", fix))))


def _indented(text: str) -> str:
    first, *more = text.split("\n")
    return "\n".join([first, *(line if line.startswith("  ") else f"  {line}" for line in more)])


def say_line(text: str) -> None:
    """One line on stderr: a name in it cannot pretend to be the next one."""
    say(visible(text, kept=""))


def plain(text: str, encoding: str) -> str:
    """The text as that encoding prints it."""
    return text.encode(encoding, errors=NAME).decode(encoding)


def make_console(*, stderr: bool) -> Console:
    """A console that lays out tables by what is really printed."""
    from rich.console import Console

    class PlainConsole(Console):
        """Knows that a sign may become several, and lets no name steer the terminal."""

        def render_str(self, text: str, **settings: Any) -> Any:
            """One line or cell, as the stream prints it."""
            text = plain(visible(text, kept=""), self.encoding)
            return super().render_str(text, **settings)

    # Markup would eat what stands in brackets: an extra, a class of that name, a path.
    return PlainConsole(stderr=stderr, markup=False)


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    place = error.start
    sign = error.object[place]
    if sign in PLAIN:
        return PLAIN[sign], place + 1
    one = UnicodeEncodeError(error.encoding, error.object, place, place + 1, error.reason)
    return codecs.backslashreplace_errors(one)

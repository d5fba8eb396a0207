"""Feeds a reader with what libFuzzer makes of good files: ``python -m tests.hostile.fuzz READER``.

Needs atheris, which is not among the test packages: it has no wheel for every Python. Ends at the
first input that raises what is no error of ours, and leaves it as ``crash-…`` here. Options of
libFuzzer (``-max_total_time=200``) go behind the reader's name. What was found once is in
tests/data/fuzz, which `tests.hostile.test_fuzz_findings` reads.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

with atheris.instrument_imports(include=["edgeresnet"]):
    from edgeresnet.device.targets.failures import mendable
    from tests.hostile import readers


def guarded(read: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The reader without the errors that the command line turns into a message."""

    def run(content: bytes) -> None:
        try:
            read(content)
        except Exception as error:
            if mendable(error) is None:
                raise

    return run


def main() -> None:
    """Fuzz one reader."""
    name, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(readers.seeds(name)):
            (corpus / str(number)).write_bytes(seed)
        read = readers.READERS[name](Path(folder))
        atheris.Setup([sys.argv[0], *options, str(corpus)], guarded(read))
        atheris.Fuzz()


if __name__ == "__main__":
    main()

"""What fuzzing found, and the good files that it begins with, stay errors of ours or readable."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeresnet.device.targets.failures import mendable
from tests.hostile.readers import READERS, seeds

FINDINGS = Path(__file__).parents[1] / "data" / "fuzz"


@pytest.mark.parametrize("name", READERS)
def test_reader_raises_errors_of_ours_when_fuzzing_once_found_others(
    name: str, tmp_path: Path
) -> None:
    read = READERS[name](tmp_path)
    for path in sorted((FINDINGS / name).glob("*")):
        with pytest.raises(Exception) as raised:  # noqa: PT011 - which one is judged below
            read(path.read_bytes())
        assert mendable(raised.value) is not None, path.name


@pytest.mark.parametrize(
    "name", [name for name in READERS if name not in ("checkpoint", "pickled")]
)
def test_reader_takes_what_fuzzing_begins_with(name: str, tmp_path: Path) -> None:
    read = READERS[name](tmp_path)
    for content in seeds(name):
        read(content)

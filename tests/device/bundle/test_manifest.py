"""What a bundle says about itself."""

from __future__ import annotations

import pytest

from edgeresnet.errors import InputError
from edgeresnet.settings.export import BatchRange


@pytest.mark.parametrize(("text", "sizes"), [("4", (4, 4, 4)), ("1:8:32", (1, 8, 32))])
def test_batch_range_parses_when_well_formed(text: str, sizes: tuple[int, int, int]) -> None:
    assert BatchRange.parse(text) == BatchRange(*sizes)


@pytest.mark.parametrize("text", ["0", "8:1:32", "1:2", "many", ""])
def test_batch_range_refuses_when_malformed(text: str) -> None:
    with pytest.raises(InputError, match="is not a size or a range"):
        BatchRange.parse(text)

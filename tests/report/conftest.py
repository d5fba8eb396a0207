"""Here charts are looked at."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def drawn(drawn_charts: None) -> None:
    """Each is drawn, as it is for users."""

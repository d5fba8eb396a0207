"""What a run's bundles give beside logits, and how far that is from PyTorch's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def feature_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each row with features, and one that says what they tell; else none.

    Args:
        rows: of the results of a run.
    """
    of_rows = [row for row in rows if row.get("features")]
    for row in of_rows:
        told = (
            f"{name} {one['largest_difference']:.2g} ({one['bound']:.2g})"
            for name, one in row["features"].items()
        )
        yield f"{row['name']} gives {', '.join(told)}"
    if of_rows:
        yield (
            "Of each feature the largest difference from PyTorch's on the images of the proof, and "
            "what rounding explains of it in the mean of its channels."
        )

"""What embeddings were judged by, where a model has no classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

JUDGED = (
    "Models without logits are judged by embeddings: an image is right where its nearest neighbour "
    "among the other images (by cosine) is of its class."
)


def embedding_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the rows are judged, and how like the first row's embeddings the others' are.

    Args:
        rows: of ``compare``, or the one result of ``evaluate``; other answers get no line.
    """
    if not any(row.get("answers") == "embeddings" for row in rows):
        return []
    told = [
        f"{row['name']} {row['cosine']['mean']:.4f} ({row['cosine']['smallest']:.4f})"
        for row in rows[1:]
        if row.get("cosine")
    ]
    alike = "Cosine with the baseline's embeddings, mean and smallest: "
    return [JUDGED, *([f"{alike}{', '.join(told)}"] if told else [])]

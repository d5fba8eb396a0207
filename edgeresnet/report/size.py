"""What few bits are for, in a line: the bytes of a model as it is, and compressed."""

from __future__ import annotations


def size_line(weight_bits: int, plain_bytes: int, compressed_bytes: int) -> str:
    """The size of a model whose weights have fewer than 8 bits."""
    return (
        f"{weight_bits}-bit weights: {plain_bytes:,} bytes, compressed (zip, gzip) "
        f"{compressed_bytes:,}"
    )

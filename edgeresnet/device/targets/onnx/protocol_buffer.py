"""Protocol buffers of strangers, read field by field, without copies and within limits."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
VARINT_BYTES = 10
# The graph of a ResNet-152 in INT8 has about 60,000.
MOST_FIELDS = 4_000_000


class DamagedError(ValueError):
    """What is no protocol buffer, or a larger one than any model's; the message says why."""


class Reader:
    """Reads the messages of one file; of all of them together so many fields.

    Args:
        most_fields: that may be read.
    """

    def __init__(self, most_fields: int = MOST_FIELDS) -> None:
        self._left = most_fields

    def fields(self, content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Numbers and values of a message's fields, nested ones unread.

        Raises:
            DamagedError: a field is cut, of no known kind, or one too many.
        """
        at, end = 0, len(content)
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise DamagedError("it has more fields than any model")
            tag, at = _varint(content, at)
            number, kind = tag >> 3, tag & 7
            if number == 0:
                raise DamagedError("a field of it has the number 0")
            if kind == VARINT:
                value, at = _varint(content, at)
                yield number, value
            elif kind == BYTES:
                size, at = _varint(content, at)
                if size > end - at:
                    raise DamagedError("it is cut off")
                yield number, content[at : at + size]
                at += size
            elif kind in (FIXED32, FIXED64):
                at += 4 if kind == FIXED32 else 8
                if at > end:
                    raise DamagedError("it is cut off")
            else:
                raise DamagedError(f"a field of it is of kind {kind}, which ONNX has not")

    def varints(self, content: memoryview) -> Iterator[int]:
        """The numbers of a packed field."""
        at = 0
        while at < len(content):
            self._left -= 1
            if self._left < 0:
                raise DamagedError("it has more numbers than any model")
            value, at = _varint(content, at)
            yield value


def signed(value: int) -> int:
    """A number of 64 bits as ``int64`` has it."""
    return value - (1 << 64) if value >> 63 else value


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """The number at ``at``, below 2^64, and where what follows it begins."""
    value = shift = 0
    for byte in content[at : at + VARINT_BYTES]:
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            if value >> 64:
                break
            return value, at
    raise DamagedError("a number of it has no end" if at < len(content) else "it is cut off")

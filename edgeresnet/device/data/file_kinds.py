"""What a file plainly is that somebody takes for a model, a list or a recipe."""

from __future__ import annotations

from pathlib import Path

from edgeresnet.errors import InputError
from edgeresnet.untrusted import opened

HEAD_BYTES = 1024
MAGIC = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras writes them",
    b"\x93NUMPY": "an array of numpy",
    b"\x1f\x8b": "a file that gzip has compressed",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF document",
}
PAGES = (b"<!doctype html", b"<html", b"<head")


def check_is_whole(path: Path, wanted: str, fix: str) -> bytes:
    """The head of a file that is not empty, nor a pointer or page in its place, nor another kind.

    Args:
        path: a file that is there.
        wanted: what it should be, as "a recipe".
        fix: what to give instead of another kind.

    Raises:
        InputError: says what it is, and what to do.
            It is no regular file, or cannot be read.
    """
    with opened(path, wanted) as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise InputError(f"{path} is empty (0 bytes)", "copy or download the file again.")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        raise InputError(
            f"{path} is a Git LFS pointer, not the file itself", "fetch the file: git lfs pull."
        )
    if text.startswith(PAGES):
        raise InputError(
            f"{path} is a web page, not {wanted}",
            "download the file itself: the link led to a page that shows it, or to a login.",
        )
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            raise InputError(f"{path} is {kind}, not {wanted}", fix)
    return head


def check_is_text(path: Path, wanted: str, fix: str) -> None:
    """`check_is_whole`, of a text.

    Raises:
        InputError: it is plainly something else, or cannot be read.
    """
    head = check_is_whole(path, wanted, fix)
    if head.startswith(b"PK\x03\x04"):
        raise InputError(f"{path} is a zip archive, not {wanted}", "unpack it first.")

"""What a file is that somebody takes for a checkpoint."""

from __future__ import annotations

import zipfile
from pathlib import Path

from edgeresnet.errors import InputError

_HEAD_BYTES = 1024
_MAGIC = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras writes them",
    b"\x93NUMPY": "an array of numpy",
    b"\x1f\x8b": "a file that gzip has compressed",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF document",
}


def check_kind(path: Path) -> None:
    """Refuse what is plainly something else than a checkpoint.

    Raises:
        InputError: says what it is, and what to do.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise InputError(f"{path} is empty (0 bytes)", "copy or download the file again.")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        raise InputError(
            f"{path} is a Git LFS pointer, not the file itself",
            "fetch the file: git lfs pull.",
        )
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        raise InputError(
            f"{path} is a web page, not a checkpoint",
            "download the file itself: the link led to a page that shows it, or to a login.",
        )
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            raise InputError(f"{path} is {kind}, not a checkpoint of PyTorch", _FIX)
    if text.startswith((b"{", b"[")) and text.isascii() and b"\0" not in head:
        raise InputError(f"{path} is a JSON text, not a checkpoint", _FIX)
    if head.startswith(b"PK"):
        _check_archive(path)


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return  # torch says what is wrong with it
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise InputError(
            f"{path} is a TorchScript archive, which holds a program and not only weights",
            "save the weights alone: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth').",
        )
    if any("archive_format" in name for name in names):
        raise InputError(
            f"{path} is a program of torch.export, and not only weights",
            "save the weights alone: torch.save(torch.export.load(FILE).state_dict, "
            "'weights.pth').",
        )
    if "data.pkl" not in inner:
        raise InputError(f"{path} is a zip archive, not a checkpoint", "unpack it first.")


_FIX = "give the checkpoint that torch.save(model.state_dict(), …) or safetensors wrote."

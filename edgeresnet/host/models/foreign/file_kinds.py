"""What a file is that somebody takes for a checkpoint."""

from __future__ import annotations

import zipfile
from pathlib import Path

from edgeresnet.device.data.file_kinds import check_is_whole
from edgeresnet.errors import InputError


def check_kind(path: Path) -> None:
    """Refuse what is plainly something else than a checkpoint.

    Raises:
        InputError: says what it is, and what to do.
    """
    head = check_is_whole(path, "a checkpoint of PyTorch", _FIX)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"<?xml"):
        raise InputError(f"{path} is XML, not a checkpoint", _FIX)
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

"""What a file is that somebody takes for a checkpoint."""

from __future__ import annotations

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
    if head[257:262] == b"ustar":
        raise InputError(
            f"{path} is a tar archive, or of a PyTorch from before 2018",
            "unpack it and give the checkpoint in it, or load it with such a PyTorch and save the "
            "weights again: torch.save(model.state_dict(), 'weights.pth').",
        )


# One of these is in what torch.save, torch.jit.save or torch.export.save wrote.
OF_TORCH = {"data.pkl", "archive_format"}
_FIX = "give the checkpoint that torch.save(model.state_dict(), …) or safetensors wrote."

"""The one place where what libraries raise of a damaged file becomes a message."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeresnet.errors import EdgeResNetError, InputError
from edgeresnet.files.places import shortened
from edgeresnet.untrusted import visible

# What torch goes on with: how to have a file's code run.
_ADVICE = re.compile(
    r"In PyTorch 2\.6|Re-running|Please (use|file)|, but got|\S*(weights_only|safe_globals|"
    r"allow-?list)"
)
_MOST = 300


@contextmanager
def refused_if_damaged(path: Path) -> Iterator[None]:
    """A block that has a library read a file; nothing of ours that may have faults belongs in it.

    Of a file of any content torch's unpickler, zipfile and safetensors raise whatever their code
    runs into, memory and recursion included: a list of types was never whole.

    Raises:
        InputError: in place of any error but our own.
    """
    try:
        yield
    except EdgeResNetError:
        raise
    except pickle.UnpicklingError as error:
        raise _refused(path, error) from error
    except Exception as error:
        raise InputError(
            f"{shortened(path)} is damaged or is no checkpoint: {first_line(error)}",
            "copy or download the file again.",
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without torch's advice; of one without text, its name."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return _shown(_without_advice(line)) or type(error).__name__


def _shown(line: str) -> str:
    return visible(line[:_MOST], kept="")


def _without_advice(line: str) -> str:
    return _ADVICE.split(line)[0].rstrip(" .,:;(`")


def _refused(path: Path, error: pickle.UnpicklingError) -> InputError:
    named = re.search(r"GLOBAL `?([\w.]+)", str(error))
    if named is None:
        said = str(error).partition("WeightsUnpickler error:")[2].strip() or str(error)
        if "operand" in said:
            said = "it is pickled in another way than torch.save's, and may run code"
        said = _without_advice((said.splitlines() or [""])[0]) or "it may run code"
        return InputError(
            f"{shortened(path)} is damaged, or no checkpoint that is read without running code: "
            f"{_shown(said)}",
            "copy or download the file again; if it is whole, where you trust it, load it "
            "yourself and save only the weights: torch.save(model.state_dict(), 'weights.pth').",
        )
    return InputError(
        f"{shortened(path)} is a pickle that runs code (of {_shown(named[1])}) when it is loaded, "
        "which is refused",
        "where you trust the file, load it yourself and save only the weights: "
        "torch.save(model.state_dict(), 'weights.pth').",
    )

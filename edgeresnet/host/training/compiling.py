"""A network in training whose passes PyTorch's own compiler has fused into fewer.

Convolutions stay as they are. What is fused lies between them: normalization, rounding to a grid,
and their gradients.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import cast

import torch
from torch import nn

from edgeresnet.device.machine.cpp_compiler import FIX, check_cpp_compiler
from edgeresnet.errors import MissingError
from edgeresnet.files.places import cache_dir

KERNELS = "TORCHINDUCTOR_CACHE_DIR"
# What PyTorch has set itself when it was imported.
TORCHS_OWN = str(Path(tempfile.gettempdir(), "torchinductor_"))


def compiled(network: nn.Module, device: torch.device) -> nn.Module:
    """The network, with the same parameters, compiled at the first batch of each size.

    Other networks that were compiled before are forgotten: beyond a limit of eight PyTorch computes
    without its compiler.

    Args:
        network: in training; it is not changed.
        device: where it is.

    Raises:
        MissingError: nothing can be compiled here.
    """
    # Code is kept and loaded again, so not under a name that anyone may take before.
    if os.environ.get(KERNELS, TORCHS_OWN).startswith(TORCHS_OWN):
        os.environ[KERNELS] = str(cache_dir() / "torch")
    # As many as the CPU quota pays for; PyTorch would count the processors.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(torch.get_num_threads()))
    # It looks for CUDA, and says so on a machine without a GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    torch.compiler.reset()
    _try(device)
    # One size of a batch each: kernels for any size are slower, and there are two at most.
    return cast(nn.Module, torch.compile(network, dynamic=False))


def _try(device: torch.device) -> None:
    """Compile something small, before the first step."""
    check_cpp_compiler()
    try:
        torch.compile(lambda x: (x * 2).relu())(torch.ones(8, device=device))
    # What it lacks is told by errors of many kinds: its own, the loader's and the system's.
    except (RuntimeError, ImportError, OSError) as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise MissingError(f"PyTorch cannot compile here ({told[0]})", FIX) from error

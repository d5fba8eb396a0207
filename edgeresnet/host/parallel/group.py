"""Several processes by `torch.distributed`, as torchrun starts them; one alone never imports it.

Gradients are averaged by PyTorch's DistributedDataParallel; on GPUs by NCCL, else by gloo.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.ranks import Rank, this_rank
from edgeresnet.host.parallel.batch_norm import SynchronizedNormalization
from edgeresnet.host.parallel.processes import ONE, working_as

T = TypeVar("T")

# A process that ends is noticed at once, by its closed connection or by torchrun. This is for what
# the others wait for while the first one works alone, such as exporting, or latency of a pruning.
LONGEST_WAIT = timedelta(days=1)
# How the errors of a broken connection begin, or what they contain.
CONNECTION = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe", "TCPStore")


class Group:
    """The processes of the default group; see `edgeresnet.host.parallel.processes.Processes`."""

    def __init__(self, rank: Rank) -> None:
        self.rank, self.count = rank.number, rank.count

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over all processes."""
        summed = tensor.detach().clone()
        distributed.all_reduce(summed)
        return summed

    def largest(self, tensor: Tensor) -> Tensor:
        """The largest of all processes, element by element."""
        found = tensor.detach().clone()
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return found

    def by_first(self, work: Callable[[], T]) -> T:
        """What the first process makes while the others wait."""
        box: list[T | None] = [None]
        if self.rank == 0:
            with working_as(ONE):
                box = [work()]
        distributed.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return cast(T, box[0])

    def same_weights(self, model: nn.Module) -> None:
        """Broadcast parameters and buffers from the first process."""
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                sent = tensor.detach().contiguous()
                distributed.broadcast(sent, src=0)
                tensor.copy_(sent)

    def averaging(self, model: nn.Module) -> nn.Module:
        """DistributedDataParallel; batch normalization is synchronized where it is used."""
        # The step sizes of layers that stay float have no gradient.
        idle = any(getattr(module, "idle", False) for module in model.modules())
        with warnings.catch_warnings():
            # PyTorch 2.15 calls it otherwise, by a name that 2.11 has not.
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(
                model, broadcast_buffers=False, find_unused_parameters=idle
            )

    def passing(
        self, network: nn.Module, *, last: bool
    ) -> contextlib.AbstractContextManager[object]:
        """Without averaging where it is not the last pass."""
        if last:
            return contextlib.nullcontext()
        return cast(DistributedDataParallel, network).no_sync()

    def normalizing(self) -> contextlib.AbstractContextManager[object]:
        """Synchronized batch normalization."""
        return SynchronizedNormalization()


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """A block that all processes of the launcher go through together; inside of one: nothing new.

    Raises:
        InputError: there are fewer GPUs than processes on a machine.
        MissingError: another process has ended, or cannot be reached.
    """
    rank = this_rank()
    if rank.count == 1 or distributed.is_initialized():
        yield
        return
    try:
        _connect(rank)
        with warnings.catch_warnings(), working_as(group := Group(rank)):
            # Of weights of 1x1, whose strides of one element say nothing.
            warnings.filterwarnings("ignore", "Grad strides do not match", UserWarning)
            yield
            # Nobody leaves while another still asks for something.
            group.by_first(lambda: None)
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and not any(
            word in str(error) for word in CONNECTION
        ):
            raise
        raise MissingError(
            f"process {rank.number} of {rank.count} lost the others ({str(error).splitlines()[0]})",
            "look for the message of the one that ended first; repeat the same command: it goes on "
            "where it was.",
        ) from error
    distributed.destroy_process_group()


def _connect(rank: Rank) -> None:
    """Find the others, as the environment says."""
    backend = "gloo"
    if torch.cuda.is_available():
        there = torch.cuda.device_count()
        if rank.local_count > there:
            raise InputError(
                f"{rank.local_count} processes on a machine of {there} GPUs",
                f"start it with torchrun --nproc-per-node {there}, or without GPUs: "
                "CUDA_VISIBLE_DEVICES= .",
            )
        torch.cuda.set_device(rank.local)
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(
        backend, rank=rank.number, world_size=rank.count, timeout=LONGEST_WAIT
    )

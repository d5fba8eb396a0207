"""A checkpoint as a session, so that PyTorch itself can be measured and compared to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from edgeresnet.closing import Closing
from edgeresnet.device.session import Opened
from edgeresnet.device.targets.first_run import first_run
from edgeresnet.device.targets.outputs import LOGITS, POOL, Output
from edgeresnet.device.targets.protocol import LARGEST_BATCH, Kernel, LayerProfile
from edgeresnet.errors import InputError, MissingError
from edgeresnet.host.models.checkpoint import load_checkpoint
from edgeresnet.host.models.headless import has_head
from edgeresnet.host.models.layer_counts import count_layers
from edgeresnet.host.models.torch_threads import allowed_threads
from edgeresnet.settings.inputs import NO_CHANGES, InputChanges
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeresnet.host.models.checkpoint import Checkpoint


class TorchSession(Closing):
    """PyTorch in eager mode on the CPU."""

    emulated = False

    def __init__(self, checkpoint: Checkpoint, threads: int | None = None) -> None:
        self._precision = "fake-quant" if checkpoint.precision == "int8" else checkpoint.precision
        self._model = checkpoint.build().to(memory_format=torch.channels_last)
        size = checkpoint.input_spec.image_size
        self.input_shape = (3, size, size)
        self.batch_sizes = (1, LARGEST_BATCH)
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(threads or allowed_threads())
        self.input_dtype = "float32"
        self.classes: int | None = len(checkpoint.classes) or None

    def outputs(
        self, batch: NDArray[np.float32] | NDArray[np.uint8]
    ) -> dict[str, NDArray[np.float32]]:
        """What `run` gives, by its name."""
        return {LOGITS if has_head(self._model) else POOL: self.run(batch)}

    def run(self, batch: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, 3, H, W) float32 to logits (N, classes), else the embedding (N, channels)."""
        images = torch.from_numpy(batch).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            logits: NDArray[np.float32] = self._model(images).numpy()
        return logits

    def layers(self, runs: int) -> list[LayerProfile]:
        """PyTorch's layers are not timed."""
        raise InputError(
            "a checkpoint has no layer profile", "export it, and profile the bundle with --layers."
        )

    def kernels(self) -> list[Kernel]:
        """Every convolution and classifier, as a kernel of its own."""
        size = self.input_shape[1]
        return [
            Kernel(layer.op, self._precision, "cpu", (layer.name,))
            for layer in count_layers(self._model, size)
        ]

    def close(self) -> None:
        """Give back what is held."""
        del self._model
        torch.set_num_threads(self._threads_before)


def open_checkpoint(
    path: Path,
    device: str,
    options: RunOptions,
    image_size: int | None,
    inputs: InputChanges = NO_CHANGES,
) -> Opened:
    """Open a checkpoint of ours or a foreign one.

    Args:
        path: what `edgeresnet.host.models.checkpoint.load_checkpoint` takes.
        device: ``cpu``.
        options: threads, the batch of the first run, which weights of a foreign checkpoint.
        image_size: of a foreign checkpoint; of our own it overrides.
        inputs: what is told of its preprocessing.

    Raises:
        InputError: there is no such checkpoint.
        MissingError: another device.
    """
    if device != "cpu":
        raise MissingError(f"a checkpoint does not run on {device} here", "give --device cpu.")
    start = time.perf_counter()
    notes: list[str] = []
    checkpoint = load_checkpoint(
        str(path),
        image_size=image_size,
        inputs=inputs,
        raw=options.raw,
        network=options.network,
        on_step=notes.append,
    )
    session = TorchSession(checkpoint, options.threads)
    load_ms = (time.perf_counter() - start) * 1e3
    return Opened(
        path.name,
        "torch",
        device,
        "fake-quant" if checkpoint.precision == "int8" else checkpoint.precision,
        session,
        checkpoint.input_spec,
        False,
        checkpoint.classes if checkpoint.classes_known else None,
        checkpoint.data,
        load_ms,
        first_run(path, session, options, pixels=False)[1],
        data_fingerprint=checkpoint.data_fingerprint,
        notes=tuple(notes),
        gives=() if checkpoint.classes else (Output(POOL, (checkpoint.widths.streams[-1],)),),
    )

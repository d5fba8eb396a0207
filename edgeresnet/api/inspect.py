"""What a checkpoint, a bundle or a bare model file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeresnet.api.data import on_foreign, with_data
from edgeresnet.api.opening import (
    check_may_be_trusted,
    check_own_inputs,
    check_told,
    is_bundle,
    load_checkpoint,
    readable,
)
from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.targets.engine_record import describe_engines
from edgeresnet.device.targets.model_files import describe_model, is_model_file
from edgeresnet.device.targets.protocol import ENGINES
from edgeresnet.errors import InputError
from edgeresnet.progress import TaskContext
from edgeresnet.results.sensitivity import SensitivityResults
from edgeresnet.settings.inputs import NO_CHANGES
from edgeresnet.settings.measuring import RunOptions
from edgeresnet.settings.network import NOTHING_TOLD, NetworkTold


def inspect(
    model: str | Path,
    *,
    image_size: int | None = None,
    raw: bool = False,
    network: NetworkTold = NOTHING_TOLD,
    trust: str | None = None,
    first_run_limit_s: float | None = None,
    sensitivity: TaskContext | None = None,
) -> dict[str, Any]:
    """Layers, widths, multiply-accumulates, parameters and precision of each.

    Args:
        model: checkpoint or bundle; or a bare model file, of which its own runtime tells.
        image_size: that the layers are counted at, of a checkpoint or of a bare file that leaves it
            open.
        raw: of a foreign checkpoint's weights themselves, not their moving average beside them.
        network: what is told of a foreign checkpoint's stem and strides.
        trust: path of a public key, whose owner must have signed the bundle.
        first_run_limit_s: that loading and running a bare file once may take; None: 120.
        sensitivity: data, limit and reporting for what quantizing each layer of a checkpoint costs,
            which is then told too (``sensitivity``); None: it is not measured.

    Raises:
        InputError: nothing to read there, or it is told to take time that it does not take; or a
            sensitivity is asked of what is no checkpoint, or of data that does not fit.
        MissingError: the runtime that reads it is not installed.
    """
    path = Path(model)
    with readable(path):
        check_may_be_trusted(path, trust)
        check_told(path, raw=raw, network=network)
        bare = not is_bundle(path) and is_model_file(path)
        if first_run_limit_s is not None and not bare:
            raise InputError(
                f"--first-run-limit-s would have no effect: {path} is not run to be inspected",
                "leave it out.",
            )
        if sensitivity is not None and (bare or is_bundle(path)):
            raise InputError(
                f"--sensitivity is measured in PyTorch, and {path} is no checkpoint",
                "give the checkpoint that it was exported from.",
            )
        if is_bundle(path):
            described = _described_bundle(path, image_size, trust)
        elif bare:
            limit_s = first_run_limit_s or RunOptions().first_run_limit_s
            described = describe_model(path, image_size, limit_s=limit_s)
        else:
            from edgeresnet.host.models.describe import describe_checkpoint

            described = describe_checkpoint(str(path), image_size, raw=raw, network=network)
            if sensitivity is not None:
                described["sensitivity"] = _sensitivity(
                    path, sensitivity, image_size=image_size, raw=raw, network=network
                )
        return {"schema": 1, **described}


def _sensitivity(path: Path, context: TaskContext, **told: Any) -> SensitivityResults:
    from edgeresnet.host.quantization.sensitivity import measure_sensitivity

    checkpoint = load_checkpoint(str(path), on_step=on_foreign(context), **told)
    return measure_sensitivity(checkpoint, with_data(context, checkpoint, str(path)))


def _described_bundle(path: Path, image_size: int | None, trust: str | None) -> dict[str, Any]:
    check_own_inputs(path, image_size, NO_CHANGES)
    bundle = load_bundle(path, trust=trust)
    return {
        **bundle.manifest.description(),
        "engines": describe_engines(bundle.engine_dir or path / ENGINES),
    }

"""What a checkpoint, a bundle or a bare model file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeresnet.device.bundle.bundle import MANIFEST, load_bundle
from edgeresnet.device.targets.engine_record import describe_engines
from edgeresnet.device.targets.model_files import describe_model, is_model_file
from edgeresnet.device.targets.protocol import ENGINES


def inspect(model: str | Path) -> dict[str, Any]:
    """Layers, widths, multiply-accumulates, parameters and precision of each.

    Args:
        model: checkpoint or bundle; or a bare model file, of which its own runtime tells.

    Raises:
        InputError: nothing to read there.
        MissingError: the runtime that reads it is not installed.
    """
    path = Path(model)
    if (path / MANIFEST).is_file() or path.is_dir():
        described = load_bundle(path).manifest.description()
        described["engines"] = describe_engines(path / ENGINES)
    elif is_model_file(path):
        described = describe_model(path)
    else:
        from edgeresnet.host.models.describe import describe_checkpoint

        described = describe_checkpoint(str(model))
    return {"schema": 1, **described}

"""TensorRT's engine, built on the host: ahead of time, and to see what becomes of the layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgeresnet.device.targets.protocol import ENGINES
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import MissingError
from edgeresnet.settings.export import BuildOptions


def build_ahead(
    model_path: Path, options: BuildOptions, on_step: Callable[[str], object]
) -> dict[str, Path]:
    """Build TensorRT's engine, if there is a TensorRT that can; its files by their bundle names.

    What is on this host need not be what is on the device: a bundle is whole without an engine.
    """
    runtime = target_of("tensorrt")
    here = runtime.available()
    if not here.usable:
        on_step(f"no engine is built: {here.reason}")
        return {}
    on_step(f"building an engine with {here.version}")
    engine_dir = model_path.parent / ENGINES
    engine_dir.mkdir()
    try:
        runtime.save_engine(model_path, runtime.default_device, engine_dir, options)
    except MissingError as error:
        on_step(f"no engine is built: {error.cause}")
    return {f"{ENGINES}/{path.name}": path for path in sorted(engine_dir.iterdir())}

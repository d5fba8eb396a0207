"""Compiles a bundle for a device of this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeresnet.device.bundle.bundle import build_options, load_bundle, record_engines
from edgeresnet.device.targets.protocol import ENGINES
from edgeresnet.device.targets.registry import check_device_name, target_of
from edgeresnet.errors import InputError

# What builds for a CPU once left in a bundle, and no target has ever loaded.
NEVER_LOADED = ("optimized.onnx", "cpu.blob", "cpu.blob.json")


def build_result(path: Path, device: str | None, engine: Path | None) -> dict[str, Any]:
    """The JSON of ``build``."""
    target = load_bundle(path, check_engines=False).manifest.target
    return {
        "schema": 1,
        "target": target,
        "device": device or target_of(target).default_device,
        "engine": engine.relative_to(path).as_posix() if engine else None,
        "size_bytes": engine.stat().st_size if engine else None,
    }


def build_bundle(
    path: Path,
    device: str | None = None,
    *,
    workspace_mib: int | None = None,
    version_compatible: bool = False,
    hardware_compatible: bool = False,
    gpu_fallback: bool = False,
) -> Path | None:
    """Build a bundle's engine into its engines folder, and its hash into the manifest.

    Args:
        path: the bundle.
        device: of this machine; None: the target's usual one.
        workspace_mib: as the others, see `edgeresnet.settings.export.BuildOptions`.
        version_compatible: as there.
        hardware_compatible: as there.
        gpu_fallback: as there.

    Returns:
        The engine; None where the target compiles when it loads, and so nothing is written.

    Raises:
        InputError: the target has no such options, or cannot represent the model.
        MissingError: runtime or device are not here.
    """
    bundle = load_bundle(path, check_engines=False)
    manifest = bundle.manifest
    target = target_of(manifest.target)
    device = device or target.default_device
    check_device_name(device, target)
    plain = build_options(
        manifest.input_spec,
        manifest.batch,
        pixels=manifest.embed_preprocess,
        sparse=manifest.proof.get("pattern") == "2:4",
    )
    options = replace(
        plain,
        workspace_mib=workspace_mib,
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatible,
        gpu_fallback=gpu_fallback,
    )
    if options != plain and manifest.target != "tensorrt":
        raise InputError(
            f"{path} is for {manifest.target}, and these build options are TensorRT's",
            "leave them out.",
        )
    engine_dir = bundle.path / ENGINES
    engine_dir.mkdir(exist_ok=True)
    try:
        engine = target.save_engine(bundle.model_path, device, engine_dir, options)
        if _remove_unused(engine_dir) or engine is not None:
            record_engines(bundle)
    finally:
        if not any(engine_dir.iterdir()):
            engine_dir.rmdir()
    return engine


def _remove_unused(engine_dir: Path) -> bool:
    """Remove what no target loads; whether there was any."""
    unused = [engine_dir / name for name in NEVER_LOADED if (engine_dir / name).is_file()]
    for path in unused:
        path.unlink()
    return bool(unused)

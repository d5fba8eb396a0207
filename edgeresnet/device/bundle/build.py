"""Compiles a bundle for a device of this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeresnet.device.bundle.bundle import build_options, load_bundle
from edgeresnet.device.bundle.write_bundle import record_engines
from edgeresnet.device.targets.first_run import guarded
from edgeresnet.device.targets.protocol import ENGINES
from edgeresnet.device.targets.registry import TARGETS, check_device_name, target_of
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.locks import one_writer
from edgeresnet.files.writing import writing
from edgeresnet.settings.export import BuildOptions
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    from edgeresnet.device.bundle.manifest import Manifest
    from edgeresnet.device.targets.protocol import Target
    from edgeresnet.progress import OnStep

# What builds for a CPU once left in a bundle, and no target has ever loaded.
NEVER_LOADED = ("optimized.onnx", "cpu.blob", "cpu.blob.json")


def build_result(path: Path, device: str | None, engine: Path | None) -> dict[str, Any]:
    """The JSON of ``build``."""
    target = load_bundle(path, check_engines=False).manifest.target
    return {
        "schema": 1,
        "target": target,
        "device": device or target_of(target).spec.default_device,
        "engine": _told(engine, path) if engine else None,
        "size_bytes": engine.stat().st_size if engine else None,
    }


def _told(engine: Path, bundle_dir: Path) -> str:
    """Its path in the bundle; of one in the user's cache, the whole path."""
    inside = engine.is_relative_to(bundle_dir)
    return (engine.relative_to(bundle_dir) if inside else engine).as_posix()


@one_writer("path", "bundle")
def build_bundle(
    path: Path,
    device: str | None = None,
    wanted: BuildOptions | None = None,
    trust: str | None = None,
) -> Path | None:
    """Build a bundle's engine into its engines folder, and its hash into the manifest.

    Args:
        path: the bundle.
        device: of this machine; None: the target's usual one.
        wanted: what the user may choose; the bundle itself says batch, shape and sparsity.
        trust: path of a public key, see `load_bundle`; the engine then goes into the user's cache.

    Returns:
        The engine; None where the target compiles when it loads, and so nothing is written.

    Raises:
        InputError: the target has no such options, or cannot represent the model; or the bundle is
            being written.
        MissingError: runtime or device are not here.
    """
    bundle = load_bundle(path, check_engines=False, trust=trust)
    target = target_of(bundle.manifest.target)
    device = device or target.spec.default_device
    check_device_name(device, target)
    wanted = wanted or BuildOptions()
    _check_options(wanted, target, path)
    options = _with_inputs(wanted, bundle.manifest)
    engine_dir = bundle.engine_dir or bundle.path / ENGINES
    with writing(engine_dir, "engines folder", begun=False):
        engine_dir.mkdir(parents=bundle.engine_dir is not None, exist_ok=True)
    try:
        with guarded(target, bundle.model_path, device, RunOptions()):
            engine = target.save_engine(bundle.model_path, device, engine_dir, options)
        changed = _remove_unused(engine_dir) or engine is not None
        if changed and bundle.engine_dir is None:
            record_engines(bundle)
    finally:
        if not any(engine_dir.iterdir()):
            engine_dir.rmdir()
    return engine


def _with_inputs(wanted: BuildOptions, manifest: Manifest) -> BuildOptions:
    """What the user chose, and what the bundle says of its inputs and weights."""
    own = build_options(
        manifest.input_spec,
        manifest.batch,
        pixels=manifest.embed_preprocess,
        sparse=manifest.proof.get("pattern") == "2:4",
    )
    return replace(wanted, batch=own.batch, input_shape=own.input_shape, sparse=own.sparse)


def _check_options(wanted: BuildOptions, target: Target, path: Path) -> None:
    """Refuse what was chosen and means nothing to the target."""
    plain = BuildOptions()
    chosen = [n for n in vars(plain) if getattr(wanted, n) != getattr(plain, n)]
    for name in chosen:
        if name not in target.spec.build_options:
            having = [n for n, one in TARGETS.items() if name in one.spec.build_options]
            raise InputError(
                f"{path} is for {target.spec.name}, and --{name.replace('_', '-')} is a build "
                f"option of {', '.join(having) or 'no target'}",
                "leave it out.",
            )


def build_ahead(
    target: Target, model_path: Path, options: BuildOptions, on_step: OnStep
) -> dict[str, Path]:
    """Build the engine of a model that is being exported, if this machine can.

    What is on this host need not be what is on the device: a bundle is whole without an engine.

    Args:
        target: whose engine.
        model_path: where its engines folder is made.
        options: how it is compiled.
        on_step: told what is built, or why nothing is.

    Returns:
        The engine's files by their names in a bundle.
    """
    here = target.available()
    if not here.usable:
        on_step(f"no engine is built: {here.reason}")
        return {}
    on_step(f"building an engine with {here.version}")
    engine_dir = model_path.parent / ENGINES
    engine_dir.mkdir()
    try:
        target.save_engine(model_path, target.spec.default_device, engine_dir, options)
    except MissingError as error:
        on_step(f"no engine is built: {error.cause}")
    return {f"{ENGINES}/{path.name}": path for path in sorted(engine_dir.iterdir())}


def _remove_unused(engine_dir: Path) -> bool:
    """Remove what no target loads; whether there was any."""
    unused = [engine_dir / name for name in NEVER_LOADED if (engine_dir / name).is_file()]
    for path in unused:
        path.unlink()
    return bool(unused)

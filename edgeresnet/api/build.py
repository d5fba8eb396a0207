"""Compiles a bundle for a device of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeresnet.device.bundle.build import build_bundle, build_result
from edgeresnet.settings.export import BuildOptions


def build(
    bundle: str | Path,
    *,
    device: str | None = None,
    workspace_mib: int | None = None,
    version_compatible: bool = False,
    hardware_compatible: bool = False,
    gpu_fallback: bool = False,
    trust: str | None = None,
) -> dict[str, Any]:
    """Compile a bundle into its ``engines`` folder.

    Args:
        bundle: its folder.
        device: of this machine; None: the target's usual one.
        workspace_mib: as the others, see `edgeresnet.settings.export.BuildOptions`.
        version_compatible: as there.
        hardware_compatible: as there.
        gpu_fallback: as there.
        trust: path of a public key, whose owner must have signed the bundle; the engine then goes
            into the user's cache.

    Raises:
        InputError: the target has no such options, or cannot represent the model.
        MissingError: runtime or device are not here.
    """
    path = Path(bundle)
    wanted = BuildOptions(
        workspace_mib=workspace_mib,
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatible,
        gpu_fallback=gpu_fallback,
    )
    engine = build_bundle(path, device, wanted, trust)
    return build_result(path, device, engine)

"""The command build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgeresnet.cli.on import result_from
from edgeresnet.cli.options import DeviceName, Json, On, Quiet
from edgeresnet.cli.output import expanded, give, show

EXAMPLE = "edgeresnet build bundle --device gpu"


def build(
    context: typer.Context,
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.", callback=expanded)
    ],
    device: DeviceName = None,
    workspace_mib: Annotated[
        Optional[int], typer.Option("--workspace-mib", help="tensorrt: memory of kernels.", min=1)
    ] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="tensorrt: loads in later versions too.")
    ] = False,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="tensorrt: loads on other GPUs too.")
    ] = False,
    gpu_fallback: Annotated[
        bool, typer.Option("--gpu-fallback", help="tensorrt: the GPU runs what the DLA cannot.")
    ] = False,
    on: On = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Compile a bundle for a device of this machine, into BUNDLE/engines.

    What compiles when it loads (onnx, and openvino on a CPU) is compiled once to show that it can
    be, and nothing is written.
    """
    if on:
        result = result_from(on, context, [bundle], quiet=quiet)
    else:
        from edgeresnet.api.build import build as build_bundle

        result = build_bundle(
            bundle, device=device, workspace_mib=workspace_mib,
            version_compatible=version_compatible, hardware_compatible=hardware_compatible,
            gpu_fallback=gpu_fallback,
        )  # fmt: skip
    give(result, json)
    if result["engine"] is None:
        line = (
            f"target {result['target']} compiles for {result['device']} when it loads; it can, and "
            "nothing is written"
        )
    else:
        line = f"{bundle / result['engine']}, {result['size_bytes'] / 2**20:.1f} MiB"
    show(line, quiet=quiet, json=json)

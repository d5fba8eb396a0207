"""The command build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeresnet.cli.on import result_from
from edgeresnet.cli.options import DeviceName, Json, On, Quiet, RecordHostInJson, Trust
from edgeresnet.cli.output import expanded, tell
from edgeresnet.cli.settings_options import Fields, with_settings
from edgeresnet.settings.export import BuildOptions

EXAMPLE = "edgeresnet build bundle --device gpu"
OPTIONS = Fields("workspace_mib", "version_compatible", "hardware_compatible", "gpu_fallback")


@with_settings
def build(
    context: typer.Context,
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="Folder that export wrote.", callback=expanded)
    ],
    options: Annotated[BuildOptions, OPTIONS],
    device: DeviceName = None,
    trust: Trust = None,
    on: On = None,
    json: Json = None,
    record_host: RecordHostInJson = False,
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
            bundle, device=device, workspace_mib=options.workspace_mib,
            version_compatible=options.version_compatible,
            hardware_compatible=options.hardware_compatible, gpu_fallback=options.gpu_fallback,
            trust=trust,
        )  # fmt: skip
    if result["engine"] is None:
        line = (
            f"target {result['target']} compiles for {result['device']} when it loads; it can, and "
            "nothing is written"
        )
    else:
        line = f"{bundle / result['engine']}, {result['size_bytes'] / 2**20:.1f} MiB"
    tell(result, line, quiet=quiet, json=json, record_host=record_host)

"""The command line: each command parses, calls one function, prints. Imports nothing heavy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from edgeresnet import __version__, cli_compare, cli_devices, cli_measure, cli_train
from edgeresnet.cli_options import (
    Arch,
    ImageSize,
    Json,
    Limit,
    MaybeData,
    Quiet,
    SkipBroken,
    Strict,
    expanded,
    known_data,
    show,
    speaker,
)
from edgeresnet.errors import CheckError, EdgeResNetError, InputError, MissingError
from edgeresnet.precision import WIDE, is_quantized

HOST_FIX = "pip install 'edgeresnet[host]'"
RUNS_DIR = Path("runs")
PROOF_DATA = {"calibration": "the calibration data", "data": "its data", "noise": "noise"}

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Takes a trained ResNet to verified INT8 on an edge device, and measures it there.",
    epilog="Begin with: edgeresnet run recipes/quickstart.yaml",
)
cli_train.register(app)
cli_devices.register(app)
cli_measure.register(app)
cli_compare.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: edgeresnet export photos-int8.pt --target openvino --int8 -o bundle")
def export(
    checkpoint: Annotated[
        Optional[str],
        typer.Argument(metavar="[CKPT]", help="Checkpoint; left out: the newest run's."),
    ] = None,
    target: Annotated[
        str, typer.Option("--target", help="onnx, openvino, tensorrt or qnn.")
    ] = "onnx",
    output: Annotated[
        Optional[Path],
        typer.Option("--output", "-o", help="Bundle folder to write.", callback=expanded),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Integer kernels throughout.")] = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Half precision; tensorrt: also around --int8.")
    ] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="bfloat16, on a device with it.")] = False,
    a16: Annotated[
        bool, typer.Option("--a16", help="qnn: 16-bit activations with --int8 weights.")
    ] = False,
    batch: Annotated[
        str, typer.Option("--batch", help="One size, or smallest:best:largest as 1:8:32.")
    ] = "1",
    embed_preprocess: Annotated[
        bool, typer.Option("--embed-preprocess", help="uint8 NHWC input, normalization inside.")
    ] = False,
    data: MaybeData = None,
    calibration_images: Annotated[
        int, typer.Option("--calibration-images", help="For a float CKPT with --int8.", min=1)
    ] = 512,
    arch: Arch = None,
    image_size: ImageSize = None,
    limit: Limit = None,
    skip_broken: SkipBroken = False,
    quiet: Quiet = False,
) -> None:
    """Write a bundle, and prove it: logits against PyTorch, kernels in the runtime's own graph."""
    precision = _precision(target, {"int8": int8, "fp16": fp16, "bf16": bf16, "a16": a16})
    from edgeresnet.bundle import check_replaceable
    from edgeresnet.manifest import BatchRange
    from edgeresnet.targets.export_support import check_export

    batches = BatchRange.parse(batch)
    check_export(target, precision, batches, embed_preprocess=embed_preprocess)
    if data is not None:
        from edgeresnet.dataset import open_dataset

        open_dataset(data, "val", limit=1)
    source = checkpoint or str(_newest_checkpoint(precision))
    out_dir = output or Path(f"{Path(source).stem.replace(':', '-')}-{target}-{precision}")
    check_replaceable(out_dir)
    from edgeresnet.checkpoint import load_checkpoint
    from edgeresnet.export import ExportOptions, export_bundle

    loaded = load_checkpoint(source, arch=arch, image_size=image_size)
    if int8 and loaded.precision == "fp32":
        from edgeresnet.options import QuantizeOptions
        from edgeresnet.quantize import quantize_checkpoint

        # GPUs and NPUs have no 8-bit products that saturate: weights may have all their bits.
        options = QuantizeOptions(
            method="ptq", calibration_images=calibration_images,
            weight_bits=8 if target in ("tensorrt", "qnn") else QuantizeOptions.weight_bits,
        )  # fmt: skip
        loaded, _ = quantize_checkpoint(
            loaded, data=known_data(data, loaded.data, source), options=options, limit=limit,
            skip_broken=skip_broken, progress=not quiet, on_step=speaker(quiet),
        )  # fmt: skip
    bundle = export_bundle(
        loaded, target=target, precision=precision, out_dir=out_dir, data=data,
        options=ExportOptions(batches, embed_preprocess), on_step=speaker(quiet),
    )  # fmt: skip
    proof = bundle.manifest.proof
    kernels = ", ".join(f"{n} {op}" for op, n in proof.get("integer_kernels", {}).items())
    proven = f"; in integer kernels: {kernels}" if kernels else ""
    line = (
        f"logits within {proof['largest_difference']:.2g} of PyTorch's on {proof['images']} images "
        f"of {PROOF_DATA[proof['data']]} (bound {proof['logit_bound']:.2g}){proven}\n{bundle.path}"
    )
    show(line, quiet=quiet, json=None)


@app.command(
    epilog="Example: edgeresnet run recipes/quickstart.yaml --set train.epochs=2 -o runs/short"
)
def run(
    recipe: Annotated[
        Path,
        typer.Argument(metavar="RECIPE", help="YAML file; see recipes/.", callback=expanded),
    ],
    settings: Annotated[
        Optional[list[str]], typer.Option("--set", help="key=value over the recipe's, repeatable.")
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option("--output", "-o", help="Run folder; default runs/NAME.", callback=expanded),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Keep finished stages, or run all again.")
    ] = True,
    device: Annotated[Optional[str], typer.Option("--device", help="To measure on.")] = None,
    strict: Strict = False,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Run a whole recipe: train, quantize, export, compare. Goes on where it was interrupted."""
    from edgeresnet.recipe import load_recipe

    overrides = [*(settings or []), *([f"compare.device={device}"] if device else [])]
    overrides += ["budgets.strict=true"] if strict else []
    loaded = load_recipe(recipe, overrides)
    from edgeresnet.pipeline import RESULTS, run_recipe

    run_dir = output or RUNS_DIR / loaded.name
    result = run_recipe(loaded, run_dir, fresh=not resume, progress=not quiet, say=speaker(quiet))
    cli_compare.show_comparison(result, json, quiet)
    speaker(quiet)(f"results: {run_dir / RESULTS}")
    cli_compare.show_unmeasured(result, quiet)
    cli_compare.enforce(result)
    cli_compare.enforce_measured(result, loaded.budgets.given())


def _precision(target: str, given: dict[str, bool]) -> str:
    """The one that is given; ``int8+fp16`` of the pair, which only TensorRT has."""
    names = [name for name, wanted in given.items() if wanted]
    if names == ["int8", "fp16"] and target == "tensorrt":
        return "int8+fp16"
    if "a16" in names:
        if names == ["int8", "a16"] and target == "qnn":
            return WIDE
        raise InputError(
            "--a16 is for 8-bit weights on target qnn", "give --target qnn --int8 --a16."
        )
    if len(names) > 1:
        raise InputError(
            "more than one precision is given",
            "give one of --int8, --fp16, --bf16; --int8 --fp16 is for --target tensorrt.",
        )
    return names[0] if names else ("fp16" if target == "qnn" else "fp32")


def _newest_checkpoint(precision: str) -> Path:
    """Of the run that wrote a checkpoint last, the one that is furthest on."""
    stages = ["02-prune", "01-train"]
    if is_quantized(precision):
        stages.insert(0, "03-quantize")
    found = [path for stage in stages for path in RUNS_DIR.glob(f"*/{stage}/checkpoint.pt")]
    if not found:
        raise InputError(
            f"no checkpoint is given and {RUNS_DIR} has no run",
            "give a checkpoint as the argument.",
        )
    newest = max(found, key=lambda path: path.stat().st_mtime)
    return next(path for path in found if path.parents[1] == newest.parents[1])


def main() -> None:
    """Run the command line; errors that the user can mend become one message and an exit code."""
    try:
        app()
    except EdgeResNetError as error:
        label = {CheckError: "failed", MissingError: "missing"}.get(type(error), "error")
        typer.echo(f"{label}: {error.cause}\nfix: {error.fix}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in HOST_PACKAGES:
            raise
        typer.echo(f"missing: this command needs {error.name}\nfix: {HOST_FIX}", err=True)
        sys.exit(MissingError.exit_code)


HOST_PACKAGES = {"torch", "torchvision", "onnx", "onnx_ir", "onnxscript", "safetensors", "sklearn"}

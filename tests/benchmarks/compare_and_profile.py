"""Do `compare` and `profile` say the same of one model? From a tiny network to ResNet-50 at 224 px.

Run it on a quiet machine: ``python -m tests.benchmarks.compare_and_profile [REPEATS]``. Weights are
random (no kernel's time depends on them). Both commands run as users run them, in turn: each
comparison between two profiles, to which it is held. How far these two are from each other says
what the machine's own unrest makes of such a ratio.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from edgeresnet.device.machine.environment import cpu_name
from edgeresnet.host.export import proof_images
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.quantization import QuantizeOptions
from tests.small_checkpoints import CLASSES, CPU_TARGETS

# Architecture, stem, share of its channels, pixels.
MODELS = {
    "resnet18/8 16 px": ("resnet18", "small", 8, 16),
    "resnet18/4 32 px": ("resnet18", "small", 4, 32),
    "resnet18 16 px": ("resnet18", "small", 1, 16),
    "resnet18 64 px": ("resnet18", "imagenet", 1, 64),
    "resnet34 128 px": ("resnet34", "imagenet", 1, 128),
    "resnet50 224 px": ("resnet50", "imagenet", 1, 224),
}


def make_network(arch: str, stem: str, divisor: int, size: int) -> Checkpoint:
    """A random network with that share of the channels, normalized by random images."""
    torch.manual_seed(0)
    dense = Widths.dense(arch)
    widths = Widths(
        dense.stem // divisor,
        tuple(width // divisor for width in dense.streams),
        tuple(
            tuple(tuple(width // divisor for width in block) for block in level)
            for level in dense.inner
        ),
    )
    model = build_resnet(arch, len(CLASSES), stem, widths).train()
    with torch.no_grad():
        for _ in range(10):
            model(torch.randn(4, 3, min(size, 64), min(size, 64)))
    weights = model.eval().state_dict()
    return Checkpoint(arch, stem, widths, CLASSES, InputSpec(size), weights, data="digits")


def make_bundles(folder: Path) -> dict[tuple[str, str], tuple[Path, Path]]:
    """The float and the INT8 bundle of each model and target."""
    # What is timed need not be proven on as many as 256 images.
    proof_images.PROOF_IMAGES = 16
    options = QuantizeOptions(method="ptq", calibration_images=32)
    bundles = {}
    for number, (name, shape) in enumerate(MODELS.items()):
        network = make_network(*shape)
        int8, _ = quantize_checkpoint(
            network, options=options, context=TaskContext(data="digits", limit=32)
        )
        for target in CPU_TARGETS:
            paths = [folder / f"{number}-{target}-{p}" for p in ("fp32", "int8")]
            for path, source in zip(paths, (network, int8), strict=True):
                export_bundle(source, target=target, precision=path.name[-4:], out_dir=path)
            bundles[name, target] = (paths[0], paths[1])
    return bundles


def ask(*arguments: object) -> dict[str, Any]:
    """The JSON of a command."""
    command = [sys.executable, "-c", "from edgeresnet.cli.app import main; main()"]
    done = subprocess.run(
        [*command, *map(str, arguments), "--json", "-", "--quiet"],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(repeats: int) -> None:
    """Print medians of both, of their ratios and of two profiles', and the figure when cold."""
    columns = ("model", "target", "profile", "compare", "ratio", "unrest", "cold")
    table = Table(*columns, box=None)
    with tempfile.TemporaryDirectory() as name:
        for (model, target), (baseline, candidate) in make_bundles(Path(name)).items():
            alone, rows = [ask("profile", candidate)["p50_ms"]], []
            for _ in range(repeats):
                rows.append(ask("compare", baseline, candidate, "--limit", 10)["rows"][1])
                alone.append(ask("profile", candidate)["p50_ms"])
            by_turns = [row["p50_ms"] for row in rows]
            around = list(zip(alone, by_turns, alone[1:], strict=False))
            figures = (
                alone,
                by_turns,
                [2 * turn / (before + after) for before, turn, after in around],
                [max(before, after) / min(before, after) for before, _, after in around],
                [row["cold_p50_ms"] for row in rows],
            )
            table.add_row(model, target, *(f"{statistics.median(each):.3f}" for each in figures))
    console = Console()
    console.print(f"p50 in ms, INT8, batch 1, medians of {repeats}: {cpu_name()}")
    console.print(table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)

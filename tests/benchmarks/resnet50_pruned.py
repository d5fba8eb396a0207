"""ResNet-50 at 3x224x224 in INT8: half and a quarter of the multiply-accumulates against dense.

Run it on a quiet machine: ``python -m tests.benchmarks.resnet50_pruned [ROUNDS]``. Weights are
random (no kernel's time depends on them), so the planner is driven by what channels save, not by
what they are worth (drawn at random); every model runs in the same rounds.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edgeresnet.device.measure.interleaving import interleave, speedup
from edgeresnet.device.targets.noise import noise
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.layer_counts import count_layers
from edgeresnet.host.pruning.criteria import Evidence
from edgeresnet.host.pruning.cut_to_budget import Shaper
from edgeresnet.host.quantization.latency_probe import int8_model_path
from edgeresnet.settings.measuring import RunOptions
from edgeresnet.settings.pruning import PruneOptions
from tests.small_checkpoints import CPU_TARGETS, make_checkpoint

SHARES = (1.0, 0.5, 0.25)
CRITERION = "random"


def make_networks() -> dict[float, Checkpoint]:
    """The dense network and its pruned forms, by their share of the multiply-accumulates."""
    source = make_checkpoint("resnet50", "imagenet", 64)
    dense = replace(source, input_spec=replace(source.input_spec, image_size=224))
    networks = {1.0: dense}
    for share in SHARES[1:]:
        options = PruneOptions(macs=share, criterion=CRITERION)
        with Shaper(dense, options, print) as shaper:
            shape = shaper.shape(dense, Evidence(dense.state_dict), 1)
        networks[share] = shape.checkpoint
    return networks


def main(rounds: int) -> None:
    """Measure and print."""
    networks = make_networks()
    table = Table("target", "MACs", "p50 ms", "against dense", box=None)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        runs = {}
        for target in CPU_TARGETS:
            for share, network in networks.items():
                place = Path(folder) / f"{target}-{share}"
                place.mkdir()
                path = int8_model_path(network, target, "cpu", place)
                session = stack.enter_context(
                    TARGETS[target].load(path, "cpu", RunOptions(precision="fp32"))
                )
                image = noise(session)
                runs[f"{target} {share}"] = lambda s=session, x=image: s.run(x)
        timed = interleave(runs, rounds)
    macs = {
        share: sum(layer.macs for layer in count_layers(network.build(), 224))
        for share, network in networks.items()
    }
    for target in CPU_TARGETS:
        for share in SHARES:
            own = timed[f"{target} {share}"]
            ratio = speedup(timed[f"{target} 1.0"], own)
            table.add_row(
                target,
                f"{macs[share] / macs[1.0]:.3f}",
                f"{own.percentile_ms(50):.2f}",
                f"{ratio.value:.2f}x ({ratio.low:.2f}-{ratio.high:.2f})",
            )
    Console().print(table)
    for share, network in networks.items():
        print(share, network.widths)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)

"""Where the time of a run's bundles goes, layer by layer: before and after, for the page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from edgeresnet.api.opening import open_model
from edgeresnet.device.measure.layers import layer_rows
from edgeresnet.device.measure.peak import measures_peak
from edgeresnet.device.measure.profile import timed_layers
from edgeresnet.errors import EdgeResNetError
from edgeresnet.progress import OnStep
from edgeresnet.settings.measuring import RunOptions


def add_layers(
    rows: list[dict[str, Any]],
    bundles: Mapping[str, Path],
    options: RunOptions,
    on_step: OnStep,
) -> None:
    """Put the layers' times into the rows of a comparison, where the runtime tells them.

    They are measured in this process, with the runtime's timers on: what they are for is the share
    of each layer, and the latency of a row is that of its own fresh process.

    Args:
        rows: of the comparison; each is named as its bundle.
        bundles: by name.
        options: how they were timed.
        on_step: told which bundle has none, and why.
    """
    for row in rows:
        path = bundles[row["name"]]
        if row["emulated"] or not measures_peak(row["target"], row["device"]):
            continue
        opener = partial(open_model, path, device=row["device"])
        try:
            row["layers"] = layer_rows(timed_layers(opener, options, path), {})
        except EdgeResNetError as error:
            on_step(f"no times of layers of {row['name']}: {error.cause}")

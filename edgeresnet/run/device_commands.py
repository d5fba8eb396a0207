"""The commands that measure a run's bundles on a device that the run's machine does not have."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeresnet.device.data.shards.naming import is_range
from edgeresnet.device.targets.registry import TARGETS, target_of
from edgeresnet.settings.export import BatchRange

if TYPE_CHECKING:
    from edgeresnet.run.recipe import Recipe

# To be replaced by the reader.
DEVICE = "DEVICE"
# What the options of the command compare are when they are left out.
ROUNDS, BATCH = 200, 1


def device_commands(
    recipe: Recipe,
    bundles: Mapping[str, Path],
    elsewhere: Mapping[str, str],
    *,
    labelled: bool = True,
) -> list[str]:
    """What to type, first here and then on the device, for the targets that were not measured.

    Args:
        recipe: gives the data, the device, the budgets and how to measure.
        bundles: path of each bundle by ``TARGET-PRECISION`` or ``TARGET-dense-PRECISION``, in the
            order of the run.
        elsewhere: the targets whose device is not here.
        labelled: whether the data has labels, without which no model can be evaluated alone.
    """
    commands = []
    for name in elsewhere:
        own = [path for key, path in bundles.items() if target_name(key) == name]
        if own:
            commands += _commands_of(recipe, name, own, bundles, labelled=labelled)
    return commands


def target_name(bundle_name: str) -> str:
    """The target of a run's bundle."""
    return bundle_name.split("-")[0]


def _commands_of(
    recipe: Recipe, name: str, own: list[Path], bundles: Mapping[str, Path], *, labelled: bool
) -> list[str]:
    target, device = target_of(name), recipe.compare.device
    to_build = own
    if len(own) == 1 and device is None:
        # Something to compare with, that runs on the device's processor.
        on_cpu = [n for n, t in TARGETS.items() if t.spec.default_device == "cpu"]
        floats = [p for n, p in bundles.items() if n in [f"{cpu}-fp32" for cpu in on_cpu]]
        own = [*floats[:1], *own]
    copied, spec_there = data_there(recipe.data)
    copied = [*map(str, own), *copied]
    on_device = [] if device is None else ["--device", device]
    commands = [["scp", "-r", *copied, f"{DEVICE}:"]]
    if target.spec.is_built_for(device or target.spec.default_device):
        commands += [["edgeresnet", "build", path.name, *on_device] for path in to_build]
    there = [path.name for path in own]
    options = ["--data", spec_there, *on_device]
    if len(there) > 1:
        commands.append(["edgeresnet", "compare", *there, *options, *_measuring(recipe)])
    else:
        commands.append(["edgeresnet", "profile", *there, *on_device])
        if labelled:
            commands.append(["edgeresnet", "evaluate", *there, *options])
    return [shlex.join(command) for command in commands]


def data_there(spec: str) -> tuple[list[str], str]:
    """Which folder to copy to the device, and the DATA SPEC there."""
    data = Path(spec).expanduser()
    if data.is_dir():
        return [str(data)], data.resolve().name
    if is_range(data):
        return [str(data.parent)], f"{data.parent.resolve().name}/{data.name}"
    return [], spec


def _measuring(recipe: Recipe) -> list[str]:
    """The options of ``compare`` that say what the recipe says."""
    compare, budgets = recipe.compare, recipe.budgets
    batch = BatchRange.parse(recipe.export.batch).best
    values = {
        "limit": compare.limit,
        "threads": compare.threads,
        "rounds": None if compare.rounds == ROUNDS else compare.rounds,
        "batch": None if batch == BATCH else batch,
        **{name: getattr(budgets, name) for name in budgets.given()},
    }
    parts = [
        part
        for name, value in values.items()
        if value is not None
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    flags = {"--all-images": compare.all_images, "--strict": budgets.strict}
    return [*parts, *(flag for flag, given in flags.items() if given)]


def has_threads(targets: Sequence[str], device: str | None) -> bool:
    """Whether any of these targets computes in threads of the CPU on a device, or its usual one."""
    specs = [target_of(name).spec for name in targets]
    return any("threads" in s.run_options(device or s.default_device) for s in specs)

"""Recipes: YAML files that say what a run does; every error in one message, before any work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from edgeresnet.device.data.file_kinds import check_is_text
from edgeresnet.errors import InputError
from edgeresnet.run.folder import why_no_folder_name
from edgeresnet.run.recipe_faults import listing
from edgeresnet.run.recipe_yaml import parse_yaml
from edgeresnet.run.shipped import recipe_file
from edgeresnet.settings.base import fault, made_of, settings
from edgeresnet.settings.export import ExportSettings
from edgeresnet.settings.faults import Fault, SettingsError
from edgeresnet.settings.front import FrontSettings
from edgeresnet.settings.inputs import (
    LARGEST_IMAGE,
    NO_CHANGES,
    SMALLEST_IMAGE,
    InputChanges,
    InputSpec,
)
from edgeresnet.settings.measuring import Budgets, ClassNames, ClassOrder, CompareSettings, Limit
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import ModelSettings, Seed, TrainOptions
from edgeresnet.untrusted import read_bytes, short

T = TypeVar("T")
# Stand for what a recipe must have and has not, while the rest of it is checked.
STAND_INS = {"name": "recipe", "data": "digits"}
# A recipe has about 2 KiB, and YAML takes its time.
MOST_BYTES = 256 * 1024


def _names_a_folder(name: str) -> str:
    if why := why_no_folder_name(name):
        raise fault(
            f"name {short(name)} {why}",
            "give a short name of letters, digits, - and _: it names a folder in runs.",
        )
    return name


def _unless_none(defaults: Any) -> BeforeValidator:
    """A section without keys is as one that is not there."""
    return BeforeValidator(lambda values: defaults if values is None else values)


RunName = Annotated[str, AfterValidator(_names_a_folder)]
MODEL, QUANTIZE, EXPORT = ModelSettings(), QuantizeOptions(), ExportSettings()
COMPARE, BUDGETS = CompareSettings(), Budgets()


@settings
class Recipe:
    """What a run does: the stages, their settings and the budgets to meet."""

    name: RunName = Field(description="Name of the run's folder.")
    data: str = Field(
        description="Images: digits, fashion-mnist, cifar10, an image folder, which is "
        "DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or DIR/CLASS/*.jpg; or a CSV or JSON file "
        "of path and label. Where nothing is trained or pruned, images without labels will do."
    )
    image_size: int | None = Field(
        default=None,
        ge=SMALLEST_IMAGE,
        le=LARGEST_IMAGE,
        description="Height and width of the input in pixels; left out: what suits the data or "
        "the weights.",
    )
    seed: Seed = 0
    limit: Limit = None
    skip_broken: bool = Field(
        default=False, description="Leave unreadable images out, and say how many."
    )
    class_order: ClassOrder = None
    classes: ClassNames = None
    inputs: Annotated[InputChanges, _unless_none(NO_CHANGES)] = Field(
        default=NO_CHANGES,
        description="How images are made into inputs, over what model.weights say.",
    )
    model: Annotated[ModelSettings, _unless_none(MODEL)] = Field(
        default=MODEL, description="The network, and the weights that it begins with."
    )
    train: TrainOptions | None = Field(
        default=None,
        description="Settings of the first training; left out: model.weights are used as they are.",
    )
    prune: PruneOptions | None = Field(
        default=None, description="Settings of pruning; left out: every channel stays."
    )
    quantize: Annotated[QuantizeOptions, _unless_none(QUANTIZE)] = Field(
        default=QUANTIZE, description="Settings of quantization, where a precision needs it."
    )
    export: Annotated[ExportSettings, _unless_none(EXPORT)] = Field(
        default=EXPORT, description="Bundles to make."
    )
    compare: Annotated[CompareSettings, _unless_none(COMPARE)] = Field(
        default=COMPARE, description="How the bundles are measured."
    )
    budgets: Annotated[Budgets, _unless_none(BUDGETS)] = Field(
        default=BUDGETS, description="Limits that the bundles must keep; a run over one exits 1."
    )
    front: FrontSettings | None = Field(
        default=None,
        description="Depths of the network to make, each as a run of its own, and to set beside "
        "each other; left out: the one network of model.",
    )


def load_recipe(
    source: str | Path,
    overrides: Sequence[str] = (),
    *,
    check: Callable[[Recipe], Sequence[str]] = lambda recipe: (),
) -> Recipe:
    """Read a recipe.

    Args:
        source: YAML file, or the name of a shipped recipe.
        overrides: ``key.path=value`` each, the value in YAML; they go over the file's.
        check: asked for further faults where there are some, so that whoever mends these does not
            meet the next ones only then.

    Raises:
        InputError: names every wrong key and value at once.
    """
    path = recipe_file(source)
    values = _read(path)
    faults: list[str] = []
    for override in overrides:
        _override(values, override, faults)
    recipe: Recipe | None
    try:
        recipe = made_of(Recipe, values)
    except SettingsError as error:
        faults += map(_line, error.faults)
        recipe = _rest(values, error.faults)
    if _has_no_network(values):
        faults.append("train: missing, and model.weights gives nothing to quantize either")
    faults += _input_faults(recipe)
    if recipe is None or faults:
        faults += [] if recipe is None else check(recipe)
        raise listing(f"recipe {path}", faults)
    return _seeded(recipe)


def _input_faults(recipe: Recipe | None) -> list[str]:
    """What of the inputs does not go together."""
    if recipe is not None:
        try:
            recipe.inputs.over(InputSpec(recipe.image_size or SMALLEST_IMAGE))
        except SettingsError as error:
            return [f"inputs: {error.cause}; {error.fix}"]
    return []


def _seeded(recipe: Recipe) -> Recipe:
    """The recipe's seed is that of every stage."""
    train = None if recipe.train is None else replace(recipe.train, seed=recipe.seed)
    qat = replace(recipe.quantize.train, seed=recipe.seed)
    quantize = replace(recipe.quantize, seed=recipe.seed, train=qat)
    prune = None if recipe.prune is None else replace(recipe.prune, seed=recipe.seed)
    return replace(recipe, train=train, prune=prune, quantize=quantize)


def _line(told: Fault) -> str:
    """A fault behind its key."""
    fix = f"; {told.fix}" if told.fix else ""
    return f"{told.name or 'recipe'}: {told.cause}{fix}"


def _rest(values: Mapping[str, Any], faults: Sequence[Fault]) -> Recipe | None:
    """The recipe without what is wrong in it; None if nothing is left of it."""
    rest = {**STAND_INS, **deepcopy(dict(values))}
    for one in faults:
        _remove(rest, one.key)
    try:
        return made_of(Recipe, {**STAND_INS, **rest})
    except SettingsError as error:
        for section in {one.key[0] for one in error.faults if one.key}:
            rest.pop(str(section), None)
    try:
        return made_of(Recipe, {**STAND_INS, **rest})
    except SettingsError:
        return None


def _remove(values: dict[Any, Any], key: Sequence[str | int]) -> None:
    """Remove the value that a key leads to, or that it leads through as far as there are keys."""
    for depth, part in enumerate(key, start=1):
        inner = values.get(part)
        if depth == len(key) or not isinstance(inner, dict):
            values.pop(part, None)
            return
        values = inner


def _has_no_network(values: Mapping[str, Any]) -> bool:
    """Whether there is neither a training nor a checkpoint in the file."""
    model = values.get("model")
    given = isinstance(model, Mapping) and model.get("weights") is not None
    front = values.get("front")
    given |= isinstance(front, Mapping) and bool(front.get("weights"))
    return values.get("train") is None and not given


def _read(path: Path) -> dict[str, Any]:
    check_is_text(path, "a recipe", "give a YAML file.")
    content = read_bytes(path, "recipe", most_bytes=MOST_BYTES)
    try:
        values = parse_yaml(content.decode("utf-8-sig"))
    except ValueError as error:
        raise InputError(f"recipe {path} is not YAML: {error}", "mend the file.") from error
    if not isinstance(values, dict):
        raise InputError(f"recipe {path} has no keys", "begin with name, data, model and train.")
    return values


def _override(values: dict[str, Any], override: str, faults: list[str]) -> None:
    key, equals, text = override.partition("=")
    shown = f"--set {short(override)}"
    if not equals or not key:
        faults.append(f"{shown}: give it as key=value")
        return
    *sections, last = key.split(".")
    for section in sections:
        if values.get(section) is None:
            values[section] = {}
        values = values[section]
        if not isinstance(values, dict):
            faults.append(f"{shown}: {short(section)} has no keys of its own")
            return
    try:
        values[last] = parse_yaml(text)
    except ValueError as error:
        faults.append(f"{shown}: the value is not YAML: {error}")

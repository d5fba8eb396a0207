"""Recipes: YAML files that say what a run does; every error in one message, before any work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

from edgeresnet.device.data.file_kinds import check_is_text
from edgeresnet.errors import InputError
from edgeresnet.run.shipped import recipe_file
from edgeresnet.settings.base import made_of, settings
from edgeresnet.settings.export import ExportSettings
from edgeresnet.settings.faults import Fault, SettingsError
from edgeresnet.settings.inputs import NO_CHANGES, SMALLEST_IMAGE, InputChanges, InputSpec
from edgeresnet.settings.measuring import Budgets, ClassNames, ClassOrder, CompareSettings, Limit
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import ModelSettings, Seed, TrainOptions

T = TypeVar("T")
# Stand for what a recipe must have and has not, while the rest of it is checked.
STAND_INS = {"name": "recipe", "data": "digits"}


def _unless_none(defaults: Any) -> BeforeValidator:
    """A section without keys is as one that is not there."""
    return BeforeValidator(lambda values: defaults if values is None else values)


MODEL, QUANTIZE, EXPORT = ModelSettings(), QuantizeOptions(), ExportSettings()
COMPARE, BUDGETS = CompareSettings(), Budgets()


@settings
class Recipe:
    """What a run does: the stages, their settings and the budgets to meet."""

    name: str = Field(min_length=1, description="Name of the run's folder.")
    data: str = Field(
        description="Images: digits, fashion-mnist, cifar10, an image folder, which is "
        "DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or DIR/CLASS/*.jpg; or a CSV or JSON file "
        "of path and label. Where nothing is trained or pruned, images without labels will do."
    )
    image_size: int | None = Field(
        default=None,
        ge=SMALLEST_IMAGE,
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
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise InputError(f"recipe {path} has {len(faults)} fault(s):\n{listed}", "mend these keys.")
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


def _line(fault: Fault) -> str:
    """A fault behind its key."""
    fix = f"; {fault.fix}" if fault.fix else ""
    return f"{fault.name or 'recipe'}: {fault.cause}{fix}"


def _rest(values: Mapping[str, Any], faults: Sequence[Fault]) -> Recipe | None:
    """The recipe without what is wrong in it; None if nothing is left of it."""
    rest = {**STAND_INS, **deepcopy(dict(values))}
    for fault in faults:
        _remove(rest, fault.key)
    try:
        return made_of(Recipe, {**STAND_INS, **rest})
    except SettingsError as error:
        for section in {fault.key[0] for fault in error.faults if fault.key}:
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
    return values.get("train") is None and not given


def _parse(text: str) -> Any:
    """YAML with the numbers of version 1.2: in 1.1, ``1:8:32`` is a number to the base of 60."""
    import re

    import yaml

    class Loader(yaml.SafeLoader):
        pass

    numbers = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float")}
    Loader.yaml_implicit_resolvers = {
        first: [entry for entry in entries if entry[0] not in numbers]
        for first, entries in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    integer, real = r"[-+]?[0-9]+", r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
    for kind, pattern in (("int", integer), ("float", real)):
        tag = f"tag:yaml.org,2002:{kind}"
        Loader.add_implicit_resolver(tag, re.compile(f"^{pattern}$"), list("-+.0123456789"))
    return yaml.load(text, Loader)  # noqa: S506 - a SafeLoader with fewer kinds of numbers


def _read(path: Path) -> dict[str, Any]:
    import yaml

    check_is_text(path, "a recipe", "give a YAML file.")
    try:
        values = _parse(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path} is not YAML: {error}", "mend the file.") from error
    if not isinstance(values, dict):
        raise InputError(f"recipe {path} has no keys", "begin with name, data, model and train.")
    return values


def _override(values: dict[str, Any], override: str, faults: list[str]) -> None:
    import yaml

    key, equals, text = override.partition("=")
    if not equals or not key:
        faults.append(f"--set {override}: give it as key=value")
        return
    *sections, last = key.split(".")
    for section in sections:
        if values.get(section) is None:
            values[section] = {}
        values = values[section]
        if not isinstance(values, dict):
            faults.append(f"--set {override}: {section} has no keys of its own")
            return
    try:
        values[last] = _parse(text)
    except yaml.YAMLError:
        faults.append(f"--set {override}: the value is not YAML")

"""Recipes: YAML files that say what a run does; every error in one message, before any work."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import Field

from edgeresnet.errors import InputError
from edgeresnet.settings.export import ExportSettings
from edgeresnet.settings.measuring import Budgets, CompareSettings, Count
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import (
    QAT_DEFAULTS,
    RECOVERY_DEFAULTS,
    ModelSettings,
    TrainOptions,
)

# What a recipe leaves unsaid about a training depends on what the training is for.
SECTION_DEFAULTS = {"quantize.train": QAT_DEFAULTS, "prune.train": RECOVERY_DEFAULTS}


@dataclass(frozen=True)
class Recipe:
    """What a run does.

    Attributes:
        name: of the run's folder.
        data: DATA SPEC.
        image_size: in pixels; None: what suits data or weights.
        seed: of every stage.
        limit: images of each split.
        train: None: ``model.weights`` is used as it is.
        prune: None: every channel stays.
    """

    name: Annotated[str, Field(min_length=1)]
    data: str
    image_size: Annotated[int, Field(ge=8)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    limit: Count | None = None
    skip_broken: bool = False
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainOptions | None = None
    prune: PruneOptions | None = None
    quantize: QuantizeOptions = field(default_factory=QuantizeOptions)
    export: ExportSettings = field(default_factory=ExportSettings)
    compare: CompareSettings = field(default_factory=CompareSettings)
    budgets: Budgets = field(default_factory=Budgets)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: YAML file.
        overrides: ``key.path=value`` each, the value in YAML; they go over the file's.

    Raises:
        InputError: names every wrong key and value at once.
    """
    values = _read(path)
    faults: list[str] = []
    for override in overrides:
        _override(values, override, faults)
    recipe: Recipe | None = _build(Recipe, values, "", faults)
    if recipe is not None and _has_no_network(recipe, values):
        faults.append("train: missing, and model.weights gives nothing to quantize either")
    if faults or recipe is None:
        if recipe is not None:
            # Whoever mends these should not meet the next ones only then.
            from edgeresnet.run.preflight import faults_of

            faults += faults_of(recipe).lines()
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise InputError(f"recipe {path} has {len(faults)} fault(s):\n{listed}", "mend these keys.")
    train = None if recipe.train is None else replace(recipe.train, seed=recipe.seed)
    qat = replace(recipe.quantize.train, seed=recipe.seed)
    quantize = replace(recipe.quantize, seed=recipe.seed, train=qat)
    prune = None if recipe.prune is None else replace(recipe.prune, seed=recipe.seed)
    return replace(recipe, train=train, prune=prune, quantize=quantize)


def _has_no_network(recipe: Recipe, values: Mapping[str, Any]) -> bool:
    """Whether there is neither a training nor a checkpoint: in the file, not through a fault."""
    model = values.get("model")
    given = isinstance(model, Mapping) and model.get("weights") is not None
    return values.get("train") is None and recipe.model.weights is None and not given


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
    return yaml.load(text, Loader)


def _read(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        raise InputError(f"recipe {path} does not exist", "check the path, e.g. recipes/*.yaml.")
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


def _build(kind: type[Any], values: Any, where: str, faults: list[str]) -> Any:
    """A dataclass of plain values; what is wrong is added to ``faults`` and keeps its default.

    None if nothing can be made of the values.
    """
    if not isinstance(values, Mapping):
        faults.append(f"{where or 'recipe'}: give keys and values, not {values!r}")
        return None
    prefix = f"{where}." if where else ""
    hints = get_type_hints(kind, include_extras=True)
    known = [f.name for f in fields(kind)]
    required = [f.name for f in fields(kind) if f.default is MISSING is f.default_factory]
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        before = len(faults)
        if key not in known:
            faults.append(f"{prefix}{key}: unknown key{_nearest(str(key), known)}")
            continue
        if section := _section(hints[key]):
            built = None if value is None else _build(section, value, f"{prefix}{key}", faults)
            if built is None:
                continue
        else:
            built = _convert(hints[key], value, f"{prefix}{key}", faults)
        if len(faults) == before or section:
            arguments[key] = built
    faults.extend(f"{prefix}{name}: missing" for name in required if name not in values)
    if any(name not in arguments for name in required):
        return None
    base = SECTION_DEFAULTS[where].to_dict() if where in SECTION_DEFAULTS else {}
    return _construct(kind, base, arguments, where, faults)


def _construct(
    kind: type[Any],
    base: dict[str, Any],
    arguments: dict[str, Any],
    where: str,
    faults: list[str],
) -> Any:
    """The dataclass, or None; each value that is refused by itself is named by its key."""
    try:
        return kind(**{**base, **arguments})
    except InputError as error:
        together = error
    alone = {key: _refusal(kind, {**base, key: value}) for key, value in arguments.items()}
    refused = {key: error for key, error in alone.items() if error is not None}
    if not refused or _refusal(kind, base) is not None:
        faults.append(f"{where}: {together.cause}; {together.fix}")
    else:
        faults.extend(f"{where}.{key}: {e.cause}; {e.fix}" for key, e in refused.items())
    return None


def _refusal(kind: type[Any], arguments: dict[str, Any]) -> InputError | None:
    try:
        kind(**arguments)
    except InputError as error:
        return error
    return None


def _section(hint: Any) -> type[Any] | None:
    return next(
        (h for h in (hint, *get_args(hint)) if is_dataclass(h) and isinstance(h, type)), None
    )


def _convert(hint: Any, value: Any, where: str, faults: list[str]) -> Any:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        faults.append(f"{where}: {error.errors()[0]['msg']}, not {value!r}")
        return None


def _nearest(key: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(key, known, n=1)
    return f" (is {found[0]} meant?)" if found else f" (known: {', '.join(known)})"

"""Options made of settings: type, default, help, limits and choices are said there, and once.

A command takes whole settings objects::

    @with_settings
    def train(options: Annotated[TrainOptions, Fields("epochs", "lr")]) -> None: ...

and the command line sees ``--epochs`` and ``--lr`` in place of ``options``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from types import UnionType
from typing import Annotated, Any, Optional, Union, get_args, get_origin, get_type_hints

import typer

KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True, init=False)
class Fields:
    """Which fields of a settings class a command has options for.

    Attributes:
        keys: names of fields; those of a section inside as ``train.epochs``, whose option is then
            ``--epochs``. A ``seed`` is that of the sections too.
        required: fields without a default here, though the class has one.
        phases: what the training of a section is, by the name of the section, for the help.
    """

    keys: tuple[str, ...]
    required: tuple[str, ...]
    phases: Mapping[str, str]

    def __init__(
        self, *keys: str, required: tuple[str, ...] = (), phases: Mapping[str, str] | None = None
    ) -> None:
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "required", required)
        object.__setattr__(self, "phases", phases or {})


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters with `Fields` are options, and reach it as settings.

    Raises:
        InputError: on calling it; the settings cannot be.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    sections: dict[str, tuple[type[Any], Fields]] = {}
    for parameter in inspect.signature(command).parameters.values():
        hint = hints[parameter.name]
        chosen = _fields_of(hint)
        if chosen is None:
            parameters.append(parameter.replace(annotation=hint, kind=KEYWORD_ONLY))
            continue
        kind = get_args(hint)[0]
        sections[parameter.name] = kind, chosen
        parameters += [_parameter(kind, key, chosen) for key in chosen.keys]

    @wraps(command)
    def parsed(**given: Any) -> None:
        for name, (kind, chosen) in sections.items():
            given[name] = _made(kind, {key: given.pop(_short(key)) for key in chosen.keys})
        command(**given)

    signature = inspect.Signature(parameters)
    parsed.__dict__["__signature__"] = signature
    parsed.__annotations__ = {p.name: p.annotation for p in parameters}
    return parsed


def option_of(
    kind: type[Any],
    key: str,
    *,
    phase: str | None = None,
    read: Callable[..., Any] | None = None,
) -> Any:
    """The option of one field: what `typer.Option` gives.

    Args:
        kind: settings class.
        key: the field, of a section inside as ``train.epochs``.
        phase: what the training of the section is, for the help.
        read: Typer's callback, given the value; a device's is its own.
    """
    owner, name = _owner(kind, key)
    field = _declared(owner)[name]
    text = str(field.description)
    if phase is not None:
        text = f"In {phase}: {text[0].lower()}{text[1:]}"
    flag = f"--{name.replace('_', '-')}"
    if field.default is True:
        flag += f"/--no-{flag[2:]}"
    # Click's own check of a number: a fraction's limits may be open, which it cannot say.
    limits = [bound for bound in field.metadata if hasattr(bound, "ge") or hasattr(bound, "le")]
    whole = int in (hint := get_type_hints(owner)[name], *get_args(hint))
    smallest = next((b.ge for b in limits if whole and hasattr(b, "ge")), None)
    largest = next((b.le for b in limits if whole and hasattr(b, "le")), None)
    if name == "target":
        return target_option(text.rstrip("."))
    complete = None
    if name == "device":
        complete, read = complete_devices, lowered
    return typer.Option(
        flag, help=text, min=smallest, max=largest, autocompletion=complete, callback=read
    )


def lowered(name: Optional[str]) -> str | None:
    """A device's name as everything here has it, however it was typed."""
    return None if name is None else name.lower()


def target_option(text: str) -> Any:
    """The option ``--target``; the registry says which there are."""
    known = ", ".join(complete_targets(""))
    return typer.Option("--target", help=f"{text}: {known}.", autocompletion=complete_targets)


def complete_targets(incomplete: str) -> list[str]:
    """What the shell offers for ``--target``."""
    from edgeresnet.device.targets.registry import TARGETS

    return [name for name in TARGETS if name.startswith(incomplete)]


def complete_devices(context: typer.Context, incomplete: str) -> list[str]:
    """What the shell offers for ``--device``: of the target that is given, or of any."""
    from edgeresnet.device.targets.registry import TARGETS

    given = context.params.get("target")
    targets = [TARGETS[given]] if given in TARGETS else TARGETS.values()
    names = dict.fromkeys(name for target in targets for name in target.spec.devices)
    return [name for name in names if name.startswith(incomplete)]


def _parameter(kind: type[Any], key: str, chosen: Fields) -> inspect.Parameter:
    owner, name = _owner(kind, key)
    phase = chosen.phases.get(key.partition(".")[0])
    annotated: Any = Annotated
    hint = annotated[_typed(get_type_hints(owner)[name]), option_of(kind, key, phase=phase)]
    default = inspect.Parameter.empty if key in chosen.required else _default(kind, key)
    return inspect.Parameter(name, KEYWORD_ONLY, default=default, annotation=hint)


def _typed(hint: Any) -> Any:
    """What a command line takes for a field.

    Of several types, or of several numbers, it is text, which the setting reads itself.
    """
    kinds = [k for k in get_args(hint) if k is not type(None)]
    several = get_origin(hint) in (Union, UnionType) and len(kinds) > 1
    if several or any(get_origin(kind) is tuple for kind in kinds):
        return Optional[str]
    return hint


def _made(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """The settings of options, those of sections inside put over the section's defaults."""
    own = {key: value for key, value in values.items() if "." not in key}
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, dot, name = key.partition(".")
        if dot:
            sections.setdefault(section, {})[name] = value
    for section, inner in sections.items():
        seed = {"seed": own["seed"]} if "seed" in own else {}
        own[section] = replace(_declared(kind)[section].default, **{**seed, **inner})
    return kind(**own)


def _fields_of(hint: Any) -> Fields | None:
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((extra for extra in extras if isinstance(extra, Fields)), None)


def _short(key: str) -> str:
    return key.rpartition(".")[2]


def _owner(kind: type[Any], key: str) -> tuple[type[Any], str]:
    """The class that declares a field, and the field's own name."""
    section, dot, name = key.partition(".")
    return (type(_declared(kind)[section].default), name) if dot else (kind, key)


def _default(kind: type[Any], key: str) -> Any:
    section, dot, name = key.partition(".")
    default = _declared(kind)[section].default
    return getattr(default, name) if dot else default


def _declared(kind: type[Any]) -> dict[str, Any]:
    """What pydantic knows of each field: default, description and limits."""
    return dict(kind.__pydantic_fields__)

"""What makes a class of settings: checked when made, frozen, and one message for all its faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import wraps
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import ArgsKwargs, InitErrorDetails, PydanticCustomError
from typing_extensions import dataclass_transform

from edgeresnet.settings.faults import FAULT, SettingsError, told

T = TypeVar("T")
# Whoever means more has mistyped; a number beyond an int64 or a C int fails in a library, and late.
MOST_SEED = 2**63 - 1
MOST_IMAGES = 10**9
MOST_TIMES = 10**6
MOST_BATCH = 65_536
RecordHost = Annotated[
    bool,
    Field(
        description="Results and manifests say where they were made: whole paths, host and user."
    ),
]
CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def settings(cls: type[T]) -> type[T]:
    """A frozen dataclass whose values are converted and checked when it is made.

    Each field says its limits and, in its description, what it is: the command line, the recipe's
    schema and the messages take them from there. `dataclasses.replace` checks again.

    Raises:
        SettingsError: on making one; names every fault.
    """
    made: type[T] = pydantic_dataclass(frozen=True, config=CONFIG)(cls)  # type: ignore[assignment]
    build = vars(made)["__init__"]

    @wraps(build)
    def checked(self: object, *args: Any, **kwargs: Any) -> None:
        try:
            build(self, *args, **kwargs)
        except ValidationError as error:
            raise SettingsError.of(told(error, made)) from None

    type.__setattr__(made, "__init__", checked)
    return made


def made_of(kind: type[T], values: object) -> T:
    """Settings of plain values, as a file has them.

    Raises:
        SettingsError: names every fault, those of sections inside too.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise SettingsError.of(told(error, kind)) from None


def fault(cause: str, fix: str) -> PydanticCustomError:
    """What a validator raises to say in its own words what is wrong and how to mend it."""
    return PydanticCustomError(FAULT, "{cause}", {"cause": cause, "fix": fix})


def with_conflicts(
    cls: type[T],
    values: Any,
    build: Callable[[Any], T],
    conflicts: Callable[[Mapping[str, Any]], Iterable[PydanticCustomError]],
) -> T:
    """What a wrapping validator does to tell faults of single values and of several together.

    Args:
        cls: the class that is validated.
        values: as the validator gets them.
        build: makes the settings of them.
        conflicts: which of the given values do not go together; sees them unchecked.
    """
    if isinstance(values, ArgsKwargs):
        names = [f.name for f in fields(cls)]  # type: ignore[arg-type]
        given = {**dict(zip(names, values.args, strict=False)), **(values.kwargs or {})}
    elif isinstance(values, Mapping):
        given = dict(values)
    else:
        return build(values)
    lines = [InitErrorDetails(type=kind, input=given) for kind in conflicts(given)]
    try:
        made = build(values)
    except ValidationError as error:
        raise ValidationError.from_exception_data(cls.__name__, [*_again(error), *lines]) from None
    if lines:
        raise ValidationError.from_exception_data(cls.__name__, lines)
    return made


def _again(error: ValidationError) -> list[InitErrorDetails]:
    """The lines of an error, to be raised once more."""
    return [
        InitErrorDetails(
            type=fault(**line["ctx"]) if line["type"] == FAULT else line["type"],
            loc=line["loc"],
            input=line["input"],
            ctx=line.get("ctx", {}),
        )
        for line in error.errors()
    ]

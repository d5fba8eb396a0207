"""Options come from settings: the same names, defaults, limits and words; choices complete."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Annotated, Any

import pytest
import typer

from edgeresnet.cli.app import COMMANDS, load_command
from edgeresnet.cli.settings_options import Fields, with_settings
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.errors import InputError
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.training import RECOVERY_DEFAULTS, TrainOptions
from tests.conftest import CommandLine
from tests.copies import REPOSITORY

COMPLETE = """
import os, sys
words = {words!r}
os.environ |= {{
    "_EDGERESNET_COMPLETE": "complete_bash", "COMP_WORDS": words,
    "COMP_CWORD": str(len(words.split(" ")) - 1),
}}
sys.argv = ["edgeresnet"]
"""


def options() -> Iterator[tuple[str, Any]]:
    for name in COMMANDS:
        for parameter in load_command(name).params:
            yield f"{name} {parameter.opts[0]}", parameter


def test_command_gets_settings_whole_when_options_are_given() -> None:
    got: list[Any] = []

    @with_settings
    def command(
        options: Annotated[PruneOptions, Fields("macs", "criterion", "train.epochs", "seed")],
    ) -> None:
        got.append(options)

    given = {"macs": 0.5, "criterion": "l2", "epochs": 7, "seed": 3}
    command(**given)
    (made,) = got
    assert (made.macs, made.criterion, made.seed) == (0.5, "l2", 3)
    assert (made.train.epochs, made.train.seed) == (7, 3)
    assert made.train.lr == RECOVERY_DEFAULTS.lr
    with pytest.raises(InputError, match="nothing to prune"):
        command(**{**given, "macs": 2.0})


def test_option_has_type_default_limits_and_words_of_the_setting() -> None:
    @with_settings
    def command(
        options: Annotated[
            TrainOptions, Fields("epochs", "lr", "optimizer", "patience", required=("optimizer",))
        ],
    ) -> None:
        pass

    parameters = inspect.signature(command).parameters
    assert list(parameters) == ["epochs", "lr", "optimizer", "patience"]
    assert parameters["epochs"].default == 30
    assert parameters["optimizer"].default is inspect.Parameter.empty
    info = {name: typing_info(parameter) for name, parameter in parameters.items()}
    assert (info["epochs"].min, info["patience"].min, info["lr"].min) == (1, 1, None)
    assert info["epochs"].help == "Passes over the training data."


def typing_info(parameter: inspect.Parameter) -> Any:
    (info,) = parameter.annotation.__metadata__
    assert isinstance(info, typer.models.OptionInfo)
    return info


def test_every_option_is_described_in_a_whole_phrase() -> None:
    for name, parameter in options():
        text = parameter.help or ""
        assert text.endswith("."), name
        assert not text[:1].islower(), name
        assert not re.match(r"(Of|To|As|For) ", text), name
        assert len(text.split()) > 1, name


def test_every_target_is_named_where_one_is_chosen() -> None:
    named = [parameter.help for name, parameter in options() if name.endswith(" --target")]
    assert len(named) == 3
    assert all(target in text for text in named for target in TARGETS)


@pytest.mark.parametrize("name", COMMANDS)
def test_line_of_the_group_is_the_first_of_its_command(name: str) -> None:
    command = getattr(import_module(f"edgeresnet.cli.{name}"), name)
    first = inspect.getdoc(command)
    assert first is not None
    assert COMMANDS[name] == first.partition("\n\n")[0].replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("prune --criterion ", ["taylor", "l1", "l2", "bn_scale", "fpgm", "random"]),
        pytest.param("train --precision b", ["bf16"], marks=pytest.mark.slow),
        ("export --target q", ["qnn"]),
        ("prune --target tensorrt --device d", ["dla0", "dla1"]),
        pytest.param("profile --device gp", ["gpu"], marks=pytest.mark.slow),
        ("recipes quick", ["quickstart"]),
        ("pru", ["prune"]),
    ],
)
def test_shell_completes_choices_targets_and_devices(
    edgeresnet: CommandLine, words: str, offered: list[str]
) -> None:
    done = edgeresnet(before=COMPLETE.format(words=f"edgeresnet {words}"))
    assert done.stdout.split() == offered, done.stderr


def test_no_type_is_ignored_where_options_become_settings() -> None:
    sources = list((REPOSITORY / "edgeresnet" / "cli").glob("*.py"))
    assert len(sources) > 10
    assert [path.name for path in sources if "type: ignore" in path.read_text()] == []

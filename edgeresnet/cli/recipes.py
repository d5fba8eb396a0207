"""The command recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from edgeresnet.cli.output import expanded, show
from edgeresnet.errors import InputError
from edgeresnet.run.shipped import copy_recipe, shipped_recipes, summary
from edgeresnet.untrusted import visible

EXAMPLE = "edgeresnet recipes quickstart -o mine.yaml"


def _names(incomplete: str) -> list[str]:
    return [name for name in shipped_recipes() if name.startswith(incomplete)]


def recipes(
    name: Annotated[
        Optional[str],
        typer.Argument(
            metavar="[NAME]",
            help="Recipe to copy; left out: all are listed.",
            autocompletion=_names,
        ),
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option(
            "--output", "-o", help="File to copy to; left out: NAME.yaml.", callback=expanded
        ),
    ] = None,
    schema: Annotated[
        bool,
        typer.Option("--schema", help="Print the JSON schema of recipes, for an editor to check."),
    ] = False,
) -> None:
    """List the recipes that come along, or copy one out to change it.

    In an editor with the YAML language server, a recipe is checked while it is written by a file
    of ``edgeresnet recipes --schema`` and the line ``# yaml-language-server: $schema=FILE``.
    """
    if schema and (name is not None or output is not None):
        raise InputError(
            "--schema prints the schema of all recipes, so NAME and -o have no effect",
            "leave them out, and redirect what is printed.",
        )
    if schema:
        from edgeresnet.run.recipe_schema import recipe_schema

        print(json.dumps(recipe_schema(), indent=2))
    elif name is not None:
        path = output or Path(f"{name}.yaml")
        copy_recipe(name, path)
        print(visible(f"{path}; then: edgeresnet run {path}"))
    elif output is not None:
        raise InputError("-o is given, and no recipe to copy", "give its NAME before -o.")
    else:
        from edgeresnet.report.tables import recipes_table

        lines = {name: summary(path) for name, path in shipped_recipes().items()}
        show(recipes_table(lines), quiet=False, json=None)

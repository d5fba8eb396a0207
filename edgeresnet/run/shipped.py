"""The recipes that come along: listed, found by name, copied out."""

from __future__ import annotations

from pathlib import Path

from edgeresnet.errors import InputError
from edgeresnet.files.outputs import check_output_file
from edgeresnet.files.writing import write_bytes, writing

PACKAGE = Path(__file__).parents[1]
FOLDER = "recipes"


def shipped_recipes() -> dict[str, Path]:
    """Their files by name.

    A wheel has them inside the package. A checkout is read itself, also where it is installed as
    editable, which leaves a copy that grows old.
    """
    checkout = PACKAGE.parent
    is_checkout = (checkout / "pyproject.toml").is_file() and (checkout / FOLDER).is_dir()
    folder = (checkout if is_checkout else PACKAGE) / FOLDER
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def summary(path: Path) -> str:
    """What a recipe does, in one line: its first comment."""
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def recipe_file(recipe: str | Path) -> Path:
    """The file of a recipe that is given as a file or by a shipped one's name; the file wins.

    Raises:
        InputError: there is neither; lists the shipped ones.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    shipped = shipped_recipes()
    if str(recipe) in shipped:
        return shipped[str(recipe)]
    raise InputError(
        f"recipe {recipe} does not exist", f"give a YAML file, or one of {', '.join(shipped)}."
    )


def copy_recipe(name: str, output: Path) -> None:
    """Copy a shipped recipe out, to be changed.

    Raises:
        InputError: there is none of that name, or something is where it would go.
    """
    shipped = shipped_recipes()
    if name not in shipped:
        raise InputError(f"no recipe {name} comes along", f"give one of {', '.join(shipped)}.")
    with writing(output, begun=False):
        if output.exists() or output.is_symlink():
            raise InputError(f"{output} is there already, and is left as it is", "give another -o.")
        check_output_file(output, "-o", "-o mine.yaml")
        output.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(shipped[name].read_bytes(), output)

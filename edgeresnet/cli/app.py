"""The command line: which commands there are, and how their errors end. Imports nothing heavy.

A command's module is imported when the command is asked for, so that ``--help`` costs no more than
what prints it.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from edgeresnet import __version__
from edgeresnet.cli.plain_text import say, say_error, use_plain_text
from edgeresnet.closing import Interrupted, end_with, ending_on_signals, leave
from edgeresnet.device.machine.process_environment import SERVING
from edgeresnet.errors import CheckError, InputError, MissingError
from edgeresnet.files.ranks import is_first, this_rank
from edgeresnet.untrusted import visible

# Typer has a Click of its own from some version on.
UsageError: Any = typer.BadParameter.__bases__[0]
# In which a launcher such as torchrun has noticed that the first process has ended.
FIRST_SPEAKS_S = 2.0
# 128 and the number of SIGPIPE.
BROKEN_PIPE = 141
HOST_FIX = "pip install 'edgeresnet[host]'"
HOST_PACKAGES = {"torch", "torchvision", "onnx", "onnx_ir", "onnxscript", "safetensors", "sklearn"}
# Each is a function of its name in the module of its name, whose docstring begins with this line.
COMMANDS = {
    "train": "Train a ResNet, or fine-tune one to new classes. Interrupted, it goes on where it "
    "was.",
    "adopt": "Make somebody else's checkpoint ours: finds out what nobody wrote down, from images.",
    "prune": "Make a narrower (or 2:4 sparse) float checkpoint, and win its accuracy back.",
    "quantize": "Make a fake-quantized INT8 checkpoint of a float one; exit 1 over a budget.",
    "export": "Write a bundle, and prove it: logits against PyTorch, kernels in the runtime's own "
    "graph.",
    "build": "Compile a bundle for a device of this machine, into BUNDLE/engines.",
    "profile": "Latency, throughput, memory and energy of a model on a device.",
    "evaluate": "Top-1 and top-5 of a model, with a confidence interval, for each class too.",
    "compare": "Accuracy and latency before and after, measured by turns; exit 1 over a budget.",
    "inspect": "Layers, widths, multiply-accumulates, parameters and precision of each.",
    "devices": "What this machine can run on, and how to get what is missing.",
    "shard": "Write an image folder as checksummed tar shards. Interrupted, it goes on where it "
    "was.",
    "recipes": "List the recipes that come along, or copy one out to change it.",
    "report": "Write the page of a run: verdict, before and after, charts, ladder, stages, full "
    "record.",
    "verify": "Recompute every claim that a bundle or a run makes, a line for each; exit 1 if one "
    "is false.",
    "run": "Run a whole recipe: train, quantize, export, compare. Goes on where it was "
    "interrupted.",
}


# Which of them several processes do together, under torchrun.
SHARED = ("train", "prune", "quantize", "run")
# And which go on when they are told the same again.
GOING_ON = (*SHARED, "shard")
_told: list[Interrupted] = []


class LazyCommands(TyperGroup):
    """A group whose commands are only names and one line of help until one is to run."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, text in COMMANDS.items():
            self.add_command(TyperCommand(name, help=text))

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """The context of a command line."""
        with _visible_usage():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with _visible_usage():
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself, with its options, and what remains of the arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name in COMMANDS else command, rest


@contextmanager
def _visible_usage() -> Iterator[None]:
    """Typer repeats what was typed, and a shell may have put names of files there."""
    try:
        yield
    except UsageError as error:
        vars(error)["message"] = visible(str(vars(error)["message"]))
        raise


def load_command(name: str) -> Any:
    """One of ``COMMANDS`` with its options."""
    module = import_module(f"edgeresnet.cli.{name}")
    single = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich"
    )
    single.command(name, epilog=f"Example: {module.EXAMPLE}")(getattr(module, name))
    return typer.main.get_command(single)


app = typer.Typer(
    cls=LazyCommands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Takes a trained ResNet to verified INT8 on an edge device, and measures it there.",
    epilog="Begin with: edgeresnet run quickstart",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; errors that the user can mend become one message and an exit code."""
    if SERVING in os.environ:
        from edgeresnet.remote.probe import end_with_stdin

        end_with_stdin()
    use_plain_text()
    end_with(_end_at_once)
    _told.clear()
    try:
        with ending_on_signals(_tell):
            _run()
    except Interrupted as end:
        leave(end, _tell)


def _run() -> None:
    try:
        _check_shared()
        app()
        # Else a pipe that was closed is noticed where nobody can tell of it.
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in HOST_PACKAGES:
            _end_in_bug()
        say(f"missing: this command needs {error.name}\nfix: {HOST_FIX}")
        sys.exit(MissingError.exit_code)
    except SystemExit as end:
        # Typer and rich have ended already, as if something had failed.
        if isinstance(end.__context__, BrokenPipeError):
            _end_without_reader()
        raise
    except BrokenPipeError:
        _end_without_reader()
    except Exception as error:
        _end(error)


def _check_shared() -> None:
    """Refuse several processes where a command has no use for them.

    Raises:
        InputError: it would be run once by each.
    """
    count, command = this_rank().count, _command()
    if count > 1 and command not in (*SHARED, None):
        raise InputError(
            f"{command} is done by one process, and {count} were started",
            f"start it without torchrun; {', '.join(SHARED)} take several.",
        )


def _command() -> str | None:
    """The command that was asked for, as far as one can tell."""
    return next((word for word in sys.argv[1:] if word in COMMANDS), None)


def _tell(end: Interrupted) -> None:
    """What was interrupted, and how to go on; once, by whichever thread ends the process."""
    if _told or not is_first():
        return
    _told.append(end)
    command = _command() or "edgeresnet"
    fix = "repeat the command: nothing half-done is left."
    if command in GOING_ON:
        fix = "repeat the same command: it goes on where it was."
        if "--fresh" in sys.argv:
            fix = "repeat the command without --fresh: it goes on where it was."
    # Nobody may be there to read it.
    with suppress(OSError):
        say_error("interrupted", f"{command}, by {end}", fix)


def _end(error: Exception) -> NoReturn:
    """Say what went wrong, and exit: what the user can mend without a traceback."""
    from edgeresnet.device.targets.failures import mendable

    told = mendable(error)
    if told is None:
        _end_in_bug()
    label = {CheckError: "failed", MissingError: "missing"}.get(type(told), "error")
    if _is_further():
        # If it is an error of all, the first process tells it, and the launcher ends this one.
        time.sleep(FIRST_SPEAKS_S)
        label = f"process {this_rank().number}: {label}"
    say_error(label, told.cause, told.fix)
    sys.exit(told.exit_code)


def _is_further() -> bool:
    """Whether this is one of several processes, and not the first."""
    try:
        return not is_first()
    except InputError:
        # That is what is being told.
        return False


def _end_at_once(error: Exception) -> NoReturn:
    """End as `_end`, from a thread, while the main one is in native code that does not return."""
    try:
        _end(error)
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(int(end.code or 0))


def _end_in_bug() -> NoReturn:
    traceback.print_exc()
    say(
        f"bug: this is a fault of edgeresnet {__version__}, and not of what you gave it\n"
        "fix: report it where you have edgeresnet from, with all of the above and the command."
    )
    sys.exit(1)


def _end_without_reader() -> NoReturn:
    """As a program ends whose pipe nobody reads any more, and neither as fine nor as failed."""
    # The interpreter would flush what is left, and fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(BROKEN_PIPE)

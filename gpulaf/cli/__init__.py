"""The command line: ``gpulaf COMMAND --help`` explains each command."""

from __future__ import annotations

import os
import re
import warnings
from typing import Any

import click

from .._version import __version__
from . import demo, evaluate, info, label, learn, profile, reproduce, train

#: Errors that are told in one line, with exit status 2.
MISTAKES = (ValueError, TypeError, OSError, RuntimeError, FloatingPointError, MemoryError, ImportError)
DEBUG = "Show a full traceback for errors."


class OneLineErrors(click.Group):
    """Turn a user's mistake into one line on standard error and exit status 2."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command; --debug is understood after it, too, and whole numbers that no array counts are refused."""
        for parameter in cmd.params:
            endless = isinstance(parameter.type, click.IntRange) and parameter.type.max is None
            if parameter.callback is None and (endless or parameter.type is click.INT):
                parameter.callback = _countable
        cmd.params.append(click.Option(["--debug"], is_flag=True, expose_value=False, callback=_debug, help=DEBUG))
        super().add_command(cmd, name)

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program; no file that it opens becomes a standard stream which was closed."""
        for stream in range(3):
            try:
                os.fstat(stream)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # takes the smallest number that is free
        return super().main(*args, **options)

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _one_line
                return super().invoke(context)
        except (click.exceptions.Exit, click.Abort):
            raise
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "gpulaf"
            click.echo(f"gpulaf: {' '.join(error.format_message().split())} See {where} --help.", err=True)
            context.exit(2)
        except MISTAKES as error:
            if context.params.get("debug"):
                raise
            click.echo(f"gpulaf: {_as_options(str(error)) or type(error).__name__}", err=True)
            context.exit(2)


def _as_options(text: str) -> str:
    """A message in one line, with the option of the command line in the place of an argument in Python."""
    line = re.sub(r"\brange=\(([^,()]+), ([^,()]+)\)", r"--range \1,\2", " ".join(text.split()))
    line = line.replace("options by gpulaf.prediction.tune", "--auto")
    return re.sub(r"\bunlabeled=(-?\d+)", r"--unlabeled \1", line)


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Show a warning of gpulaf as a line; those of others, which a user cannot follow, with --debug alone."""
    context = click.get_current_context(silent=True)
    if category.__module__.startswith("gpulaf"):
        text = _as_options(str(message))
        told = context.find_root().meta.setdefault("gpulaf.told", set()) if context is not None else set()
        if text not in told:  # once in a run
            told.add(text)
            click.echo(f"gpulaf: {text}", err=True)
    elif context is not None and context.find_root().params.get("debug"):
        click.echo(warnings.formatwarning(message, category, filename, lineno, line), err=True, nl=False)


def _countable(context: click.Context, parameter: click.Parameter, value: int | None) -> int | None:
    counts = isinstance(parameter.type, click.IntRange) and parameter.name != "seed"
    if value is not None and abs(value) > (most := 2**31 - 1 if counts else 2**63 - 1):
        raise click.BadParameter(f"{value} is too large; accepted are numbers up to {most}.", context, parameter)
    return value


def _debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.find_root().params["debug"] |= value


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
@click.option("--debug", is_flag=True, help=DEBUG)
def main(debug: bool) -> None:
    """Label images with linearized assignment flows, and learn their weights from ground truth."""


for command in (
    demo.demo, label.label, label.refine, learn.learn, train.train, evaluate.evaluate, profile.profile,
    reproduce.reproduce, info.info,
):  # fmt: skip
    main.add_command(command)

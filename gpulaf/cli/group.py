"""The group of all commands: its help, mistakes in one line, Ctrl-C, -v, and consoles of any encoding."""

from __future__ import annotations

import codecs
import os
import re
import sys
import warnings
from contextlib import suppress
from typing import Any

import click

from .logs import log_to_stderr, stop_logging

__all__ = ["DEBUG", "VERBOSE", "Group", "set_verbose"]

#: Errors that are told in one line, with exit status 2.
MISTAKES = (ValueError, TypeError, OSError, RuntimeError, FloatingPointError, MemoryError, ImportError)
#: Exit status after Ctrl-C, 128 + SIGINT, as of programs that it kills.
INTERRUPTED = 130
DEBUG = "Show a full traceback for errors."
VERBOSE = "Say what is done; -vv in every step."
#: What stands for characters that a console does not have.
PLAIN = str.maketrans(
    {"×": "x", "–": "-", "−": "-", "…": "...", "’": "'", "²": "^2", "ρ": "rho", "σ": "sigma", "τ": "tau", "Ω": "Omega"}
)


class Group(click.Group):
    """Turn a user's mistake into one line on standard error and exit status 2, Ctrl-C into one and 130."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command; --debug and -v are understood after it, too, and numbers that no array counts are refused."""
        for parameter in cmd.params:
            endless = isinstance(parameter.type, click.IntRange) and parameter.type.max is None
            if parameter.callback is None and (endless or parameter.type is click.INT):
                parameter.callback = _countable
        options: dict[str, Any] = {"expose_value": False, "is_eager": True}
        cmd.params.append(click.Option(["-v", "--verbose"], count=True, callback=set_verbose, help=VERBOSE, **options))
        cmd.params.append(click.Option(["--debug"], is_flag=True, callback=_debug, help=DEBUG, **options))
        super().add_command(cmd, name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands in the order in which they were added."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List every command with the first paragraph of its help, whole."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(command)) for name, command in self.commands.items()])

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program; no file that it opens becomes a standard stream which was closed."""
        for stream in range(3):
            try:
                os.fstat(stream)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # takes the smallest number that is free
        for output in (sys.stdout, sys.stderr):
            if getattr(output, "errors", "") in ("strict", "surrogateescape", "backslashreplace"):
                with suppress(AttributeError, OSError, ValueError):
                    output.reconfigure(errors="gpulaf.plain")  # type: ignore[union-attr]
        return super().main(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _one_line
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):  # a reader that had enough, as head
            raise
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "gpulaf"
            click.echo(f"gpulaf: {' '.join(error.format_message().split())} See {where} --help.", err=True)
            ctx.exit(2)
        except KeyboardInterrupt as error:
            click.echo(
                f"\ngpulaf: stopped by Ctrl-C. {_kept(error, self.commands.get(ctx.invoked_subcommand or ''))}",
                err=True,
            )
            ctx.exit(INTERRUPTED)
        except MISTAKES as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"gpulaf: {_as_options(str(error)) or type(error).__name__}", err=True)
            ctx.exit(2)
        finally:
            stop_logging()


def _summary(command: click.Command) -> str:
    """The first paragraph of the help of a command."""
    return " ".join((command.help or "").partition("\n\n")[0].split())


def _kept(error: KeyboardInterrupt, command: click.Command | None) -> str:
    """What is left of the work of a command that was stopped, and how to go on."""
    notes = " ".join(getattr(error, "__notes__", []))
    resumable = any(parameter.name == "checkpoint" for parameter in (command.params if command else ()))
    if not notes or ("Checkpoint(" in notes and not resumable):
        return "Files that were written are whole; the rest begins anew."
    return _as_options(notes)


def _as_options(text: str) -> str:
    """A message in one line, with the option of the command line in the place of an argument in Python."""
    line = re.sub(r"\brange=\(([^,()]+), ([^,()]+)\)", r"--range \1,\2", " ".join(text.split()))
    line = line.replace("options by gpulaf.prediction.tune", "--auto")
    line = re.sub(r"\bCheckpoint\(path\)", "--checkpoint FILE", line)
    line = re.sub(r"\bCheckpoint\(path, resume=True\)", "--resume", line)
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


def set_verbose(context: click.Context, _: click.Parameter, value: int) -> None:
    """Show the log, the more the oftener -v is given, before the command or after it."""
    root = context.find_root().meta
    root["gpulaf.verbose"] = root.get("gpulaf.verbose", 0) + value
    if root["gpulaf.verbose"]:
        log_to_stderr(root["gpulaf.verbose"])


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for the characters that an encoding does not have: a handler of errors, gpulaf.plain."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(PLAIN)
    return text.encode("ascii", errors="replace").decode("ascii"), error.end


codecs.register_error("gpulaf.plain", _plain)

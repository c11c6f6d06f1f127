"""The command line: ``gpulaf COMMAND --help`` explains each command."""

from __future__ import annotations

import click

from .._version import __version__
from . import demo, evaluate, info, label, learn, profile, reproduce, train
from .group import DEBUG, VERBOSE, Group, set_verbose

END = """
\b
Exit status: 0 done; 1 a check of gpulaf info --check failed; 2 a mistake,
told in one line on standard error; 130 stopped by Ctrl-C. Files are written
whole or not at all.

\b
Completion of commands, options and files, where a shell starts:
  bash (~/.bashrc)  eval "$(_GPULAF_COMPLETE=bash_source gpulaf)"
  zsh (~/.zshrc)    eval "$(_GPULAF_COMPLETE=zsh_source gpulaf)"
"""


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, epilog=END)
@click.version_option(__version__)
@click.option("-v", "--verbose", count=True, expose_value=False, callback=set_verbose, help=VERBOSE)
@click.option("--debug", is_flag=True, help=DEBUG)
def main(debug: bool) -> None:
    """Label images with linearized assignment flows, and learn their weights from ground truth."""


for command in (
    demo.demo, label.label, label.refine, learn.learn, train.train, evaluate.evaluate, profile.profile,
    reproduce.reproduce, info.info,
):  # fmt: skip
    main.add_command(command)

"""``python -m gpulaf``: the command line."""

from .cli import main

main(prog_name="gpulaf")

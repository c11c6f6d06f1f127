"""The version of gpulaf."""

__version__ = "0.2.0"

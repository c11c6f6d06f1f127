"""The version of gpulaf."""

__version__ = "0.1.0"

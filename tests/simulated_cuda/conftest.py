"""The comparison of surfaces needs the real CuPy: without it, it is not collected, unless it is asked for by name."""

from importlib.machinery import PathFinder
from sysconfig import get_path

collect_ignore = [] if PathFinder.find_spec("cupy", [get_path("platlib")]) else ["test_surface.py"]

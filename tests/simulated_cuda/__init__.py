"""A package, so that pytest puts ``tests`` on the path for the tests in it, not this folder with its ``cupy``."""

"""Arrays of any library and the machine below them.

Which library and device hold an array (`array`), which implementation of a kernel serves it (`dispatch`), inner
products and combinations of fields (`products`), small dense matrices on the host (`dense`), estimates of memory
(`memory`), validation of user input (`validation`), arrays of torch, xarray and others (`foreign`), numbers of users
(`numbers`), operands that fit together (`operands`), progress bars (`progress`), calls on several threads (`workers`).
Imports kernels alone.
"""

from .memory import memory_estimate

__all__ = ["memory_estimate"]

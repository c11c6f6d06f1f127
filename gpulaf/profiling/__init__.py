"""Time of a learning step by stage, and whether a machine computes what it should.

Stages beside a copy of as many bytes (`profile`), clocks of host and device (`clocks`), bytes and operations of a
kernel (`costs`), every kernel against its definition (`check`) on random operands (`cases`). Imports learning and what
is below it.
"""

from .profile import Profile, Stage, profile_step

__all__ = ["Profile", "Stage", "profile_step"]

"""Time of a learning step by stage.

Stages beside a copy of as many bytes (`profile`), clocks of host and device (`clocks`), bytes and operations of a
kernel (`costs`). Imports learning and what is below it.
"""

from .profile import Profile, Stage, profile_step

__all__ = ["Profile", "Stage", "profile_step"]

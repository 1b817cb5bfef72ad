"""The options of a run, in groups. No torch here, so that ``--help`` is quick.

The group of an option says what depends on it: all groups except Bookkeeping make up a run's identity; a
teacher that is trained for a run shares Images, Optimisation, Numerics and Bookkeeping with its student,
except for the options marked UNSHARED.
"""

from __future__ import annotations

from typing import Any

from .bookkeeping import Bookkeeping as Bookkeeping
from .group import Group as Group
from .images import Images as Images
from .network import Network as Network
from .numerics import Numerics as Numerics
from .optimisation import Optimisation as Optimisation
from .teacher import Teacher as Teacher


class Settings(Bookkeeping, Numerics, Optimisation):
    """The options that the training engine reads."""


class Training(Settings, Teacher, Network, Images):
    """The options of every run."""


GROUPS: tuple[type[Group], ...] = (Images, Network, Teacher, Optimisation, Numerics, Bookkeeping)
"""In the order of ``--help``."""


def defaults(group: type[Group]) -> dict[str, Any]:
    """Option -> default of a group."""
    return {name: field.default for name, field in group.model_fields.items()}

"""A number that may change over a run: ``8..2`` falls linearly from 8 at its start to 2 at its end.

An option of this kind is ``Annotated[float | str, Changing(Gt(0)), Doc(...)]``. A number stays the plain
number that it was; the text of a course becomes a :class:`Course`, whose present value is a tensor computed
from ``Batch.progress``, so that a compiled method stays one graph. No torch here: the command line reads
these options too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from .batch import Batch

BETWEEN = ".."
"""Stands between the two numbers of a course."""


class Course(NamedTuple):
    """A number that changes linearly over a phase.

    Attributes:
        start: its value at the start of the phase.
        end: at its end.
    """

    start: float
    end: float

    @classmethod
    def of(cls, value: float | str) -> float | Course:
        """The course that a text describes; a number is returned as it is.

        Raises:
            ValueError: the text is not two finite numbers with ``..`` between them.
        """
        if not isinstance(value, str):
            return value
        ends = value.split(BETWEEN)
        try:
            course = cls(*map(float, ends))
        except (TypeError, ValueError):
            raise ValueError(f"{value!r} is not a number, nor a course over the run such as 8..2") from None
        if not all(map(math.isfinite, course)):
            raise ValueError(f"the ends of the course {value!r} must be finite numbers")
        return course

    def __str__(self) -> str:
        return f"{self.start:.12g}{BETWEEN}{self.end:.12g}"


def now(value: float | Course, batch: Batch, what: str) -> float | Tensor:
    """The present value: a number itself; of a course, a tensor of ().

    Args:
        value: a number, or a course.
        batch: holds the progress of the phase.
        what: method and option, for the message: "the temperature of KD".

    Raises:
        ValueError: a course, and the batch has no ``progress``.
    """
    if not isinstance(value, Course):
        return value
    reason = f"{what} changes from {value.start:g} to {value.end:g}"
    return value.start + (value.end - value.start) * batch.elapsed(reason, "a plain number")


@dataclass(frozen=True)
class Changing:
    """Marks an option that is a number within ``bound``, or a course whose ends both are.

    Args:
        bound: of :mod:`annotated_types`, such as ``Gt(0)``.
    """

    bound: Any

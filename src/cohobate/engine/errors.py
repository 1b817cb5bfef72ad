"""Exceptions that end a run."""

from __future__ import annotations


class RunError(Exception):
    """A run cannot begin or go on; the message says what to do."""


class Stopped(Exception):
    """A run stopped at a checkpoint, as asked; the same command goes on.

    Attributes:
        code: exit status for the command line.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class NonFiniteLoss(RunError):
    """Training diverged: a loss term, a weight or a measure became NaN or infinite."""

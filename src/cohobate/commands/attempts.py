"""One of several runs, which may diverge without ending the others."""

from __future__ import annotations

from ..config.text import first_line
from ..engine import distributed
from ..engine.errors import NonFiniteLoss
from ..runs.layout import RunFolder
from .prepare import Prepared
from .running import run


def attempt(prepared: Prepared, folder: RunFolder, *, quiet: bool) -> str | None:
    """Train a run that has been checked; how it diverged, if it did.

    Raises:
        NonFiniteLoss: a teacher diverged, before the run began, or several processes train the run: one of
            them may know before the others.
        Stopped, RunError: see :func:`cohobate.train`; they concern the other runs, too.
    """
    try:
        run(prepared, folder, checked=True, quiet=quiet)
    except NonFiniteLoss as error:
        # Without a configuration in the folder the teacher diverged, before the run began.
        if distributed.world() > 1 or not folder.config.exists():
            raise
        return first_line(error)
    return None

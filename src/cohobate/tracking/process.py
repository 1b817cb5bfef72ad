"""The process around a tracker, which is given back as it was."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

HOOKS = ("exit", "excepthook")
"""Functions of ``sys`` that trackers replace."""


@contextmanager
def as_it_was() -> Iterator[None]:
    """Afterwards the environment, the handlers of signals, hooks and the filters of warnings are as before.

    Warnings inside are not shown: they are about the tracker's own code.
    """
    environment, handlers = dict(os.environ), _handlers()
    hooks = {name: getattr(sys, name) for name in HOOKS}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, hook in hooks.items():
            setattr(sys, name, hook)
        _restore_environment(environment)
        _restore_handlers(handlers)


def _restore_environment(before: dict[str, str]) -> None:
    for name in set(os.environ) - set(before):
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _restore_handlers(before: dict[int, Any]) -> None:
    """Only the main thread may set handlers, and so a tracker can have changed them only there."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number, handler in before.items():
        # None: a handler that was not set from Python, which Python cannot set.
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)

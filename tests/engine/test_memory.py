"""Freed memory is kept: a large block that is asked for again costs no new pages."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
import torch

from cohobate.config.groups import Settings
from cohobate.engine.memory import keep_freed_memory
from cohobate.engine.phase import place

PROBE = """
import resource, torch
from cohobate.engine.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
for _ in range(40):
    torch.empty(10_000_000).fill_(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.empty(10_000_000).fill_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_a_trainer_leaves_the_allocator_of_its_process_alone() -> None:
    """Somebody else's process may have other needs: only the command line asks for it."""
    keep_freed_memory.cache_clear()
    place(torch.nn.Linear(2, 2), torch.device("cpu"), Settings())
    assert keep_freed_memory.cache_info().misses == 0


@pytest.mark.skipif(not keep_freed_memory(), reason="another allocator than glibc's")
def test_a_large_block_is_used_again() -> None:
    """After a while: the first blocks still find no gap that fits."""
    faults = {
        keep: int(
            subprocess.run(
                [sys.executable, "-c", PROBE.format(keep=keep)], capture_output=True, check=True
            ).stdout
        )
        for keep in (True, False)
    }
    pages = 5 * 40_000_000 // resource.getpagesize()
    assert faults[True] < 0.02 * pages
    assert faults[False] > 10 * max(1, faults[True])

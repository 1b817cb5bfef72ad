"""The blocks of docs/DEPLOY.md that need timm."""

from __future__ import annotations

from pathlib import Path

from deploy_page import BLOCKS, OF_LIBRARIES, run_in_order


def test_the_blocks_of_timm_run(tmp_path: Path) -> None:
    """With the pictures and the files that blocks before them write."""
    before = [block for block in BLOCKS if 'Path("photos").mkdir()' in block.text]
    before += [block for block in BLOCKS if "file" in block.marks]
    assert run_in_order(before, tmp_path) == 3
    assert run_in_order(OF_LIBRARIES, tmp_path) == 2

"""The engine compiles the whole method; on a GPU it replays the step as a CUDA graph."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor import config as inductor
from zoo import seeded, toy, trainer

from cohobate.engine.errors import RunError
from cohobate.methods.self_guidance import SelfGuidance


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_the_step_is_one_graph_and_on_a_gpu_a_replayed_one(device: str, tmp_path: Path) -> None:
    torch._dynamo.reset()
    counters.clear()
    running = trainer(seeded(lambda: SelfGuidance(toy())), tmp_path, device=device, compile="on")
    with inductor.patch({"cpp.simdlen": 1}):  # kernels without vectors build in two thirds of the time
        running.run()
    assert running.compiled
    assert counters["stats"]["unique_graphs"] == 1
    losses = [sum(record["losses"].values()) for record in running.standing.history]
    assert losses[1] < losses[0]
    # cudagraph_or_error makes a skip an error; the counter is the second witness.
    assert running.replayed == (device == "cuda")
    assert counters["inductor"]["cudagraph_skips"] == 0


def test_without_a_compiler_one_line_says_what_to_do(tmp_path: Path) -> None:
    with (
        inductor.patch({"cpp.cxx": (None, "no-such-compiler")}),
        pytest.raises(RunError, match=r"needs a C\+\+ compiler.*: install g\+\+, or give --compile off"),
    ):
        trainer(seeded(lambda: SelfGuidance(toy())), tmp_path, device="cpu", compile="on")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares a GPU with the CPU; there is no GPU")
def test_a_gpu_trains_on_the_same_images_as_the_cpu(tmp_path: Path) -> None:
    cpu, gpu = (trainer(seeded(lambda: SelfGuidance(toy())), tmp_path / d, device=d) for d in ("cpu", "cuda"))
    for one, two in zip(cpu.loader.epoch(1), gpu.loader.epoch(1), strict=True):
        assert torch.equal(one.y, two.y.cpu())
        torch.testing.assert_close(one.x, two.x.cpu())

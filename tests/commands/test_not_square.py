"""Images of 24 x 40 pixels from end to end: a head of fixed size, its cost, a rerun, what was deployed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cohobate
from cohobate.cli import main
from cohobate.commands.prepare import prepare
from cohobate.data.arrays import arrays
from cohobate.data.dataset import Dataset
from cohobate.methods.supervised import Supervised
from cohobate.recipes.catalogue import METHODS, TERMS
from cohobate.recipes.options import options
from cohobate.recipes.recipe import find
from cohobate.runs.deployed import read_deployed

H, W = 24, 40
QUICK: dict[str, Any] = {"batch_size": 16, "epochs": 1, "device": "cpu", "quiet": True}

OWN = """
from torch import nn


def fixed(classes):
    return nn.Sequential(nn.Conv2d(3, 16, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 5 * 9, classes))
"""
MACS = 16 * 5 * 9 * (3 * 5 * 5) + 16 * 5 * 9 * 4
"""Outputs of the convolution times their inputs, and those of the linear layer."""


def x_and_y(images: int = 48) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (images, H, W, 3), np.uint8), np.arange(images) % 4


def made() -> Dataset:
    x, y = x_and_y()
    return arrays(x, y, val=(x[:16], y[:16]), test=(x[:16], y[:16]))


def fixed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 16, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 5 * 9, 4))


def test_a_head_of_fixed_size_is_trained_measured_and_run_again(tmp_path: Path) -> None:
    result = cohobate.fit(Supervised(fixed()), made(), tmp_path, **QUICK)
    assert result.facts["macs"] == MACS
    # Killed after the last epoch: the same call measures again.
    (tmp_path / "result.json").unlink()
    again = cohobate.fit(Supervised(fixed()), made(), tmp_path, **QUICK)
    assert again.facts["macs"] == MACS
    assert again.facts["last"] == result.facts["last"]


def test_the_cost_of_a_built_in_network_is_that_of_a_hand_count(tmp_path: Path) -> None:
    network = cohobate.build("resnet8", 4)
    result = cohobate.fit(Supervised(network), made(), tmp_path, **QUICK)
    seen: list[int] = []

    def count(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        seen.append(output.numel() * module.weight[0].numel())

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    network(torch.zeros(1, 3, H, W))
    assert result.facts["macs"] == sum(seen)


def test_by_the_command_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    x, y = x_and_y()
    np.savez("wide.npz", x=x, y=y, x_test=x[:8], y_test=y[:8])
    run = ["train", "baseline", "--data", "wide.npz", "--model", "own.py:fixed", "--batch-size", "8"]
    run += ["--epochs", "1", "--device", "cpu", "--keep-epochs", "1", "--out", "run"]
    main([*run, "--dry-run"])
    assert f"{MACS:,}" in capsys.readouterr().out
    main(run)
    assert json.loads(Path("run/result.json").read_text())["macs"] == MACS
    assert read_deployed(Path("run")).shape == (3, H, W)
    assert cohobate.load(Path("run"))(torch.zeros(1, 3, H, W)).shape == (1, 4)
    main(["evaluate", "run"])
    main(["attention", "run", "--images", "2"])
    main(run)
    assert "already finished" in capsys.readouterr().err


NEEDS = {
    "takd": {"assistants": ("resnet8",)},
    "dgkd": {"assistants": ("resnet8",)},
    "fitnet_stages": {"epochs": 2},
}


@pytest.mark.parametrize("method", sorted({*METHODS, *TERMS} - {"sla_sd", "deit"}))
def test_every_method_takes_them(method: str) -> None:
    """Checked as before a run: its first step, its read-outs and the networks that it would deploy.

    Without sla_sd, which refuses them, and deit, whose transformers have a size of their own.
    """
    values: dict[str, Any] = {"model": "resnet8", "epochs": 1, "batch_size": 16, "device": "cpu"}
    values |= {"teacher": ("resnet14",)} if find(method).needs_teacher else {}
    dataset = made()
    prepare(method, options(method, values | NEEDS.get(method, {})), lambda _: dataset).check()


def test_the_one_that_turns_images_refuses_them() -> None:
    config = options("sla_sd", {"batch_size": 16, "device": "cpu"})
    dataset = made()
    with pytest.raises(ValueError, match=f"SLA turns images by 90 degrees, .* square ones, got {H} x {W}"):
        prepare("sla_sd", config, lambda _: dataset).check()

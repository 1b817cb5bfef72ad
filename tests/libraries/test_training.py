"""The same commands train a built-in network, one of timm, one of torchvision, and one written by hand."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

import cohobate
from cohobate.cli import main
from cohobate.commands.evaluate import evaluate_run
from cohobate.engine.checkpoint import read_state

# A residual network that knows nothing of cohobate.
OWN = """
from torch import nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, 2)

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class Own(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        self.layer1 = BasicBlock(16, 24)
        self.layer2 = BasicBlock(24, 32)
        self.head = nn.Linear(32, classes)

    def forward(self, x):
        return self.head(self.layer2(self.layer1(F.relu(self.stem(x)))).mean((2, 3)))
"""

# Digits have 8 x 8 pixels: a MobileNetV2 of two stages.
SETTING = [[1, 16, 2, 1], [4, 24, 2, 1]]
MOBILE = f"torchvision:mobilenet_v2:dropout=0:inverted_residual_setting={SETTING}".replace(" ", "")

GATES = {"resnet8": 3, "timm:test_resnet": 4, MOBILE: 2, "own.py:Own": 2}
"""Network -> its residual branches that can be dropped."""

METHODS = {"self_guidance": [], "kd": ["--teacher", "resnet8"]}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)


def bare(spec: str) -> nn.Module:
    """The network without cohobate."""
    if spec == "timm:test_resnet":
        return timm.create_model("test_resnet", num_classes=10)
    if spec == MOBILE:
        return torchvision.models.mobilenet_v2(num_classes=10, dropout=0.0, inverted_residual_setting=SETTING)
    if spec == "own.py:Own":
        module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("own", "own.py"))
        module.__spec__.loader.exec_module(module)
        return module.Own(10)
    return cohobate.build(spec, 10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spec", GATES)
def test_trains_on_digits_and_deploys(spec: str, method: str) -> None:
    settings = ["--data", "digits", "--epochs", "5", "--lr", "0.05", "--device", "cpu"]
    main(["train", method, *METHODS[method], "--model", spec, *settings, "--quiet", "--out", "run"])
    facts = json.loads(Path("run/result.json").read_text())
    (measured,) = facts["last"]["test"].values()
    assert measured["top1_error"] < 50, "chance is 90"
    again, _, _ = evaluate_run(Path("run"), "test", "last")
    assert again["top1_error"] == pytest.approx(measured["top1_error"])

    network, plain = cohobate.load("run"), bare(spec).eval()
    state = read_state(Path("run/deployed.safetensors")).tensors
    assert state.keys() == plain.state_dict().keys()
    plain.load_state_dict(state)
    x = torch.randn(8, 3, 8, 8)
    logits = plain(x)
    logits = logits if isinstance(logits, torch.Tensor) else logits.logits
    torch.testing.assert_close(network(x), logits)
    assert len(cohobate.core.gate_names(network)) == GATES[spec]
    assert facts["parameters_deployed"] == sum(parameter.numel() for parameter in plain.parameters())

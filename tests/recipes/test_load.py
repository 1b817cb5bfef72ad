"""The network that ``cohobate.load`` gives: logits for other tools, an Output for ours."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import cohobate
from cohobate.core import Output
from cohobate.engine.checkpoint import State, write_state
from cohobate.recipes.networks import make_network

OWN = """
from torch import nn
def make(classes):
    body = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)
    more = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*body, *more, nn.Linear(8, classes))
"""
NETWORKS = ("resnet8", "wrn_16_1", "mobilenet_v2", "own.py:make")
SHAPE = (3, 16, 16)


@pytest.fixture(params=NETWORKS)
def loaded(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    network = make_network(request.param, 3, SHAPE)
    facts = {"model": request.param, "classes": ["ant", "bee", "cat"], "shape": list(SHAPE)}
    facts |= {"mean": [0.5] * 3, "std": [0.2] * 3}
    write_state(Path("deployed.safetensors"), State(network.state_dict(), facts))
    return cohobate.load("deployed.safetensors", trust=True)


def test_it_returns_logits_and_its_features_are_an_output(loaded: nn.Module) -> None:
    x = torch.randn(2, *SHAPE)
    logits, output = loaded(x), loaded.features(x)
    assert isinstance(logits, Tensor)
    assert isinstance(output, Output)
    torch.testing.assert_close(output.logits, logits)
    assert len(output.stages) > 1
    assert not loaded.training
    assert loaded.class_names == ("ant", "bee", "cat")
    assert loaded.state_dict().keys() == loaded.network.state_dict().keys()
    # As a teacher, and behind adapt, it has its features.
    assert len(cohobate.Frozen(loaded)(x).stages) == len(output.stages)
    assert cohobate.adapt(loaded, shape=SHAPE) is loaded.network


def test_it_is_made_of_plain_weights_in_inference_mode_too(loaded: nn.Module) -> None:
    x = torch.randn(2, *SHAPE)
    with torch.inference_mode():
        network = cohobate.load("deployed.safetensors", ["cat", "ant", "bee"], trust=True)
        torch.testing.assert_close(network(x), loaded(x)[:, [2, 0, 1]])
    assert not any(p.is_inference() for p in network.parameters())


def test_fx_traces_it(loaded: nn.Module) -> None:
    x = torch.randn(2, *SHAPE)
    torch.testing.assert_close(torch.fx.symbolic_trace(loaded)(x), loaded(x))
    loaded.features(x)


def test_torch_export_takes_it(loaded: nn.Module) -> None:
    x = torch.randn(2, *SHAPE)
    exported = torch.export.export(loaded, (x,)).module()
    torch.testing.assert_close(exported(x), loaded(x))
    loaded.features(x)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_onnx_takes_it(loaded: nn.Module) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    x = torch.randn(2, *SHAPE)
    file = io.BytesIO()
    torch.onnx.export(loaded, (x,), file, input_names=["x"], dynamo=True, verbose=False)
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), loaded(x).detach(), rtol=1e-3, atol=1e-4)

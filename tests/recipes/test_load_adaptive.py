"""``cohobate.load(path, adaptive=True)``: the deployed sum as a cascade, with the threshold of its file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import cohobate
from cohobate.core import Sum
from cohobate.engine.checkpoint import State, read_state, write_state
from cohobate.engine.errors import RunError
from cohobate.inference.thresholds import exits_at
from cohobate.recipes.networks import make_network
from cohobate.runs.deployed import StoredThreshold, read_deployed, store_threshold

SHAPE = (3, 8, 8)
NAMES = ["ant", "bee", "cat"]


def deploy(path: Path, members: Sequence[str] = ("resnet8", "resnet8"), **found: Any) -> Path:
    """A deployed file as the engine writes it, of networks with random weights."""
    torch.manual_seed(3)
    networks = [make_network(member, 3, SHAPE) for member in members]
    network = networks[0] if len(networks) == 1 else Sum(networks)
    facts: dict[str, Any] = {"model": members[0], "members": list(members), "classes": NAMES}
    facts |= {"mean": [0.5] * 3, "std": [0.2] * 3, "shape": list(SHAPE), "epoch": 7}
    write_state(path, State(network.state_dict(), facts | ({"found": found} if found else {})))
    return path


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(24, *SHAPE, generator=torch.Generator().manual_seed(1))


def middle(sums: Sequence[torch.Tensor]) -> float:
    """A threshold at which half of the images leave."""
    return float(sums[0].double().softmax(1).square().sum(1).median()) + 1e-6


@torch.no_grad()
def test_the_stored_threshold_decides(tmp_path: Path, x: torch.Tensor) -> None:
    sums = cohobate.load(deploy(tmp_path / "d.safetensors")).network.prefixes(x)
    threshold = middle(sums)
    file = deploy(tmp_path / "d.safetensors", threshold=threshold)
    cascade = cohobate.load(file, adaptive=True)
    assert isinstance(cascade, cohobate.Cascade)
    assert not cascade.training
    assert (cascade.threshold, cascade.energy, cascade.class_names) == (threshold, "sum", tuple(NAMES))
    logits, exits = cascade.exits(x)
    assert 0 < int(exits.sum()) < len(x)
    for row, leaves in enumerate(exits.tolist()):
        energy = float(sums[0][row].double().softmax(0).square().sum())
        assert leaves == (0 if energy > threshold else 1)
        torch.testing.assert_close(logits[row], sums[leaves][row], rtol=1e-4, atol=1e-5)
    assert cascade.state_dict().keys() == read_state(file).tensors.keys()


@torch.no_grad()
def test_a_threshold_may_be_given_instead(tmp_path: Path, x: torch.Tensor) -> None:
    file = deploy(tmp_path / "d.safetensors", threshold=0.0)
    sums = cohobate.load(file).network.prefixes(x)
    torch.testing.assert_close(cohobate.load(file, adaptive=True)(x), sums[0], rtol=0, atol=0)
    never = cohobate.load(file, adaptive=True, threshold=math.inf)
    torch.testing.assert_close(never(x), sums[1], rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"an energy in \[0, 1\].* got 1.5"):
        cohobate.load(file, adaptive=True, threshold=1.5)
    with pytest.raises(ValueError, match=r"threshold 0.5 is that of a cascade: give adaptive=True"):
        cohobate.load(file, threshold=0.5)  # type: ignore[call-overload]


@torch.no_grad()
def test_the_reading_is_the_stored_one(tmp_path: Path, x: torch.Tensor) -> None:
    members = ("resnet8", "resnet8", "resnet8")
    sums = torch.stack(cohobate.load(deploy(tmp_path / "d.safetensors", members)).network.prefixes(x))
    threshold = middle(sums)
    file = deploy(tmp_path / "d.safetensors", members, threshold=threshold, threshold_energy="added")
    cascade = cohobate.load(file, adaptive=True)
    assert cascade.energy == "added"
    assert torch.equal(cascade.exits(x).exits, exits_at(sums, threshold, energy="added"))
    assert cohobate.load(file, adaptive=True, threshold=0.9).energy == "added"


@torch.no_grad()
def test_classes_are_put_in_order_and_others_refused(tmp_path: Path, x: torch.Tensor) -> None:
    file = deploy(tmp_path / "d.safetensors", threshold=0.4)
    plain, turned = cohobate.load(file, adaptive=True), ["cat", "ant", "bee"]
    other = cohobate.load(file, turned, adaptive=True)
    assert other.class_names == tuple(turned)
    assert torch.equal(other.exits(x).exits, plain.exits(x).exits)
    torch.testing.assert_close(other(x), plain(x)[:, [2, 0, 1]], rtol=1e-5, atol=1e-6)
    assert cohobate.load(file, 3, adaptive=True).class_names == tuple(NAMES)
    with pytest.raises(ValueError, match="predicts 3 classes, the data has 4"):
        cohobate.load(file, 4, adaptive=True)
    with pytest.raises(ValueError, match="has other classes than the data: bee there, bug here"):
        cohobate.load(file, ["ant", "bug", "cat"], adaptive=True)


def test_a_plain_network_and_a_file_without_threshold_are_refused(tmp_path: Path) -> None:
    file = deploy(tmp_path / "plain.safetensors", ("resnet8",), threshold=0.5)
    with pytest.raises(ValueError, match=r"plain\.safetensors is one network, resnet8, and no sum"):
        cohobate.load(file, adaptive=True)
    file = deploy(tmp_path / "sum.safetensors")
    message = r"sum\.safetensors stores no threshold .*`cohobate evaluate RUN --adaptive`.*or give threshold="
    with pytest.raises(ValueError, match=message):
        cohobate.load(file, adaptive=True)
    assert cohobate.load(file, adaptive=True, threshold=0.5).threshold == 0.5


@pytest.mark.parametrize("found", [{"threshold": "high"}, {"threshold": -0.1}, {"threshold": math.nan}])
def test_a_damaged_threshold_is_named(tmp_path: Path, found: dict[str, Any]) -> None:
    file = deploy(tmp_path / "d.safetensors", **found)
    with pytest.raises(RunError, match=r"d\.safetensors stores .* as the threshold of a cascade"):
        cohobate.load(file, adaptive=True)
    file = deploy(tmp_path / "d.safetensors", threshold=0.5, threshold_energy="product")
    with pytest.raises(RunError, match="with the energy 'product'"):
        cohobate.load(file, adaptive=True)


@pytest.mark.parametrize("threshold", [0.25, 0.0, math.inf])
def test_storing_changes_the_header_alone(tmp_path: Path, threshold: float) -> None:
    file = deploy(tmp_path / "d.safetensors", threshold=0.75, stopped="stages", energy={"T": 0.9})
    before = read_deployed(file)
    assert before.threshold == StoredThreshold(0.75, None, None)
    assert re.match(r"0\.75 \(the mean energy .* eq\. 10, energy sum\)", str(before.threshold))
    store_threshold(before, StoredThreshold(threshold, "added", "a rule"))
    after = read_deployed(file)
    assert after.threshold == StoredThreshold(threshold, "added", "a rule")
    assert before.tensors.keys() == after.tensors.keys()
    for key, tensor in before.tensors.items():
        assert tensor.dtype == after.tensors[key].dtype
        assert torch.equal(tensor, after.tensors[key]), key
    own = {"threshold", "threshold_rule", "threshold_energy"}
    kept = {key: value for key, value in after.found.items() if key not in own}
    assert kept == {"stopped": "stages", "energy": {"T": 0.9}}
    assert {k: v for k, v in after.facts.items() if k != "found"} == {
        k: v for k, v in before.facts.items() if k != "found"
    }
    assert cohobate.load(file, adaptive=True).threshold == threshold
    assert [path.name for path in tmp_path.iterdir()] == ["d.safetensors"]

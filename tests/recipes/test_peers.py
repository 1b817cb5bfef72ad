"""Networks that teach each other, by name: what is built, what is said, what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from by_name import made_for
from torch import nn
from zoo import toy_images

from cohobate import cli
from cohobate.commands.prepare import prepare
from cohobate.core import Method, Separate
from cohobate.data.arrays import arrays
from cohobate.engine import distributed
from cohobate.methods.ffm_cd import Diversified, FeatureFusion
from cohobate.methods.okddip import SelfAttention, TwoLevel
from cohobate.methods.one import BranchGate
from cohobate.models.backbones.resnet import Basic
from cohobate.recipes.catalogue import METHODS
from cohobate.recipes.job import Job
from cohobate.recipes.options import options, own_options


def made(method: str, said: list[str] | None = None, **given: Any) -> Method:
    """The method of a run on toy images of 8x8 pixels."""
    config = options(method, {"model": "resnet8", **given})
    say = (lambda message: None) if said is None else said.append
    job = Job(config, arrays(*toy_images(40, 0)), say)
    learner: Method = made_for(method, job)
    return learner


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", ["gate", "sa", "ffm", "gate_cd", "sa_cd", "ffm_cd"])
def test_table_6_is_three_attentions_with_and_without_cd(name: str) -> None:
    kind, _, cd = name.partition("_")
    method = made(name)
    assert isinstance(method, Diversified if cd else TwoLevel)
    inner = method.method if isinstance(method, Diversified) else method
    assert isinstance(inner, TwoLevel)
    expected = {"gate": BranchGate, "sa": SelfAttention, "ffm": FeatureFusion}[kind]
    assert isinstance(inner.attention, expected)
    # Eq. 8 and section 4.1 as printed.
    assert (inner.alpha, inner.beta, inner.temperature) == (1.0, 2.0, 3.0)
    assert (len(inner.group), inner.group.shared) == (4, 1)
    assert ("gamma" in own_options(name)) == bool(cd)
    assert ("widths" in own_options(name)) == (kind == "ffm")


def test_okddip_and_one_branch_the_last_stage() -> None:
    okddip, one = made("okddip"), made("one")
    assert (okddip.group.shared, len(okddip.group)) == (2, 4)  # type: ignore[union-attr, arg-type]
    assert (okddip.alpha, okddip.beta) == (1.0, 1.0)
    assert (one.group.shared, len(one.group)) == (2, 3)  # type: ignore[union-attr, arg-type]
    assert one.ramp == okddip.ramp == pytest.approx(80 / 300)


@pytest.mark.parametrize(
    ("at", "shared"), [(1, 1), (2, 2), (-1, 2), (-2, 1), ("stages.1.0", 2), ("stages.0.0.conv2", 0)]
)
def test_branching_anywhere(at: int | str, shared: int) -> None:
    method = made("ffm", at=at)
    assert method.group.shared == shared  # type: ignore[union-attr]


def test_more_stages_than_there_are_cannot_be_separated() -> None:
    message = r"at=-3 gives each branch 3 stages, but resnet8 has 3 .*at goes from -1 to -2"
    with pytest.raises(ValueError, match=message):
        made("one", at=-3)


def test_two_branches_are_a_leader_and_a_peer() -> None:
    method = made("ffm_cd", branches=2)
    assert method.peer_readouts == ("peer_1",)
    assert list(method.predictors()) == ["leader", "peer_1"]


def test_the_default_gamma_is_said_and_begins_at_the_printed_size() -> None:
    said: list[str] = []
    assert made("ffm_cd", said).gamma != 5e-8
    assert made("ffm_cd", said, product="outer").gamma == pytest.approx(5e-8)
    assert made("ffm_cd", said, gamma=1e-3).gamma == 1e-3
    sizes = [line.rpartition(" ")[2] for line in said]
    assert [line.startswith("CD loss: gamma ") for line in said] == [True] * 3
    assert sizes[0] == sizes[1] != sizes[2]
    assert len(made("ffm_cd").classifiers) == 4  # type: ignore[arg-type]
    assert len(made("ffm_cd", pairs="peers").classifiers) == 3  # type: ignore[arg-type]
    assert isinstance(made("ffm_cd", gamma=0.0), TwoLevel)


def test_every_process_takes_the_gamma_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their weights, that it is matched to, differ before training."""
    config = options("ffm_cd", {"model": "resnet8", "device": "cpu"})
    prepared = prepare("ffm_cd", config, read=lambda config: arrays(*toy_images(40, 0)))
    monkeypatch.setattr(distributed, "gathered", lambda own: [1e-3, own])
    assert prepared.first_phase().method.gamma == 1e-3


def test_networks_of_their_own() -> None:
    method = made("dml", others=("resnet14", "wrn_16_1"))
    assert isinstance(method.group, Separate)
    assert [type(network).__name__ for network in method.group.networks] == ["ResNet", "ResNet", "WideResNet"]
    assert len(made("dml").group) == 2  # type: ignore[arg-type]
    okddip = made("okddip", separate_networks=True)
    assert isinstance(okddip.group, Separate)
    assert len(okddip.group) == 4
    blocks = [m for m in made("dml", peers=3).modules() if isinstance(m, Basic)]
    assert len(blocks) == 3 * 3


def test_peers_of_a_trained_network_draw_their_own_weights(tmp_path: Path) -> None:
    from cohobate.engine.checkpoint import State, write_state

    trained = made("baseline").network
    write_state(tmp_path / "weights.safetensors", State(trained.state_dict(), {}))  # type: ignore[union-attr]
    for given in ({"init": tmp_path / "weights.safetensors"}, {}):
        spec = "resnet8" if given else f"resnet8:weights={tmp_path / 'weights.safetensors'}"
        one, two = made("dml", model=spec, **given).group.networks  # type: ignore[union-attr, misc]
        assert (one.fc.weight == trained.fc.weight).all()  # type: ignore[union-attr, operator]
        assert not (two.fc.weight == trained.fc.weight).all()  # type: ignore[union-attr, operator]


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("okddip", {"branches": 1}, "branches: Input should be greater than or equal to 2"),
        ("dml", {"peers": 1}, "peers: Input should be greater than or equal to 2"),
        ("dml", {"peers": 3, "others": ("resnet14",)}, "--model and 1 others make 2 networks, not 3"),
        ("okddip", {"others": ("resnet14",)}, "others needs --separate-networks"),
        ("ffm", {"at": 3}, "at=3: ResNet has 3 stages"),
        ("ffm", {"at": "stages.1.9"}, "the nearest that do are stages.1.0"),
        ("gate", {"at": "conv"}, "the gate reads the last stage that all branches share, here none"),
        ("one", {"teacher": ("resnet20",)}, "one takes no teacher"),
        ("ffm", {"gamma": 1e-3}, "ffm has no option 'gamma'"),
    ],
)
def test_refusals(method: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(method, **given)


def test_every_peer_method_is_in_the_catalogue() -> None:
    names = {"dml", "one", "cl_ilr", "okddip", "gate", "sa", "ffm", "gate_cd", "sa_cd", "ffm_cd"}
    assert names <= METHODS.keys()


def digits(*arguments: str) -> tuple[str, ...]:
    return (*arguments, "--data", "digits", "--device", "cpu", "--train-images", "400", "--quiet")


def test_a_run_measures_every_read_out(tmp_path: Path) -> None:
    cli.main(digits("train", "ffm_cd", "--epochs", "2", "--widths", "32,16", "--out", str(tmp_path / "run")))
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["predictor"] == "leader"
    assert result["options"]["widths"] == [32, 16]
    assert result["parameters_trained"] > 3 * result["parameters_deployed"]
    measured = result["last"]["test"]
    assert list(measured) == ["leader", "peer_1", "peer_2", "peer_3", "ensemble", "peer_mean"]
    for error in ("top1_error", "top5_error"):
        peers = [measured[f"peer_{i}"][error] for i in (1, 2, 3)]
        assert measured["peer_mean"][error] == pytest.approx(sum(peers) / 3)
    assert "agreement s" in (tmp_path / "run/report.html").read_text()


def test_a_diverging_gamma_stops_at_the_term_and_keeps_the_last_good_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = digits("train", "ffm_cd", "--epochs", "5", "--gamma", "30", "--out", str(tmp_path / "run"))
    with pytest.raises(SystemExit) as stop:
        cli.main(run)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert re.search(r"nll' of the read-out 'leader' on the val split is nan after epoch [2-5]", said)
    assert "before it the largest term was 'cd'" in said
    assert f"the last good state is {tmp_path / 'run/train/last.safetensors'}" in said

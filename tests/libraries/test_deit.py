"""DeiT with timm's own network of two tokens, from random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch

import cohobate
from cohobate.cli import main
from cohobate.methods.deit import NETWORKS, DeiT, two_heads

SMALL = ":".join(
    [
        "timm:deit_tiny_distilled_patch16_224",
        "img_size=8",
        "patch_size=4",
        "depth=2",
        "embed_dim=24",
        "num_heads=2",
    ]
)


def student() -> torch.nn.Module:
    torch.manual_seed(0)
    return cohobate.build(SMALL, classes=10, shape=(3, 8, 8))


def test_the_networks_that_are_named_are_timms() -> None:
    names = [name.strip().removeprefix("timm:") for name in NETWORKS.split(",")]
    assert set(names) <= set(timm.list_models("*distilled*"))


def test_two_heads_are_what_timm_gives_in_training() -> None:
    network = student().network
    x = torch.randn(4, 3, 8, 8)
    one, two = two_heads(network, x)  # type: ignore[arg-type]
    network.set_distilled_training(True)  # type: ignore[operator]
    for ours, theirs in zip((one, two), network.train()(x), strict=True):  # type: ignore[operator]
        torch.testing.assert_close(ours, theirs)
    network.set_distilled_training(False)  # type: ignore[operator]
    torch.testing.assert_close(network.eval()(x), (one + two) / 2)  # type: ignore[operator]


@pytest.mark.parametrize("target", ["hard", "soft"])
def test_a_step_moves_both_heads_and_compiles_into_one_graph(target: str) -> None:
    from torch._dynamo.testing import CompileCounter

    torch.manual_seed(0)
    method = DeiT(student(), cohobate.build("resnet8", classes=10), target=target)  # type: ignore[arg-type]
    batch = cohobate.Batch((torch.randn(4, 3, 8, 8),), torch.arange(4))
    eager = method(batch)
    counter = CompileCounter()
    method.compile(fullgraph=True, dynamic=False, backend=counter)
    for _ in range(2):
        losses = method(batch)
    assert counter.frame_count == 1
    for name, value in eager.items():
        torch.testing.assert_close(losses[name], value)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    for name in ("head", "head_dist"):
        assert method.student.network.get_submodule(name).weight.grad.abs().sum() > 0  # type: ignore[union-attr]


def test_a_run_by_name_deploys_timms_own_network(tmp_path: Path) -> None:
    command = [
        "train",
        "deit",
        "--model",
        SMALL,
        "--teacher",
        "resnet8",
        "--epochs",
        "1",
        "--batch-size",
        "64",
    ]
    command += [
        "--device",
        "cpu",
        "--train-images",
        "256",
        "--teachers",
        str(tmp_path / "teachers"),
        "--lr",
        "0.01",
    ]
    main([*command, "--out", str(tmp_path / "run")])
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result
    network = cohobate.load(tmp_path / "run")
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 10)
    refused = ["train", "deit", "--model", "resnet8", "--teacher", "resnet8", "--out", str(tmp_path / "no")]
    with pytest.raises(SystemExit):
        main([*refused, "--teachers", str(tmp_path / "none")])
    assert not (tmp_path / "no").exists()
    assert not (tmp_path / "none").exists()

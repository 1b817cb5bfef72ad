"""Measures against loops and against scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, top_k_accuracy_score
from torch import Tensor, nn

import cohobate
from cohobate.core import Batch, Mean, cross_entropy
from cohobate.engine import distributed
from cohobate.engine.measures.classification import evaluate


class Two:
    """A loader of two batches, the second one short; x carries the logits."""

    def __init__(self, logits: Tensor, y: Tensor) -> None:
        self.batches = [Batch((logits[:30],), y[:30]), Batch((logits[30:],), y[30:])]

    def __len__(self) -> int:
        return 2

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        return iter(self.batches[start:])


def naive_ece(p: Tensor, y: Tensor) -> float:
    confidence, guess = p.max(1)
    total = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            accuracy = (guess[inside] == y[inside]).double().mean()
            total += float(inside.double().mean() * (accuracy - confidence[inside].mean()).abs())
    return 100 * total


def test_measures() -> None:
    logits, y = 2 * torch.randn(50, 8), torch.arange(50) % 8
    found = evaluate(lambda x: {"a": x, "b": -x}, Two(logits, y), torch.device("cpu"))
    assert found.keys() == {"a", "b"}
    for sign, name in ((1, "a"), (-1, "b")):
        p = (sign * logits).double().softmax(1)
        errors = [100 * (1 - top_k_accuracy_score(y, p, k=k, labels=range(8))) for k in (1, 5)]
        assert found[name]["top1_error"] == pytest.approx(errors[0])
        assert found[name]["top5_error"] == pytest.approx(errors[1])
        assert found[name]["nll"] == pytest.approx(log_loss(y, p, labels=range(8)))
        assert found[name]["ece"] == pytest.approx(naive_ece(p, y))
        assert found[name]["images"] == 50
        wrong = p.argmax(1) != y
        expected = [100 * wrong[y == k].double().mean().item() for k in range(8)]
        assert found[name]["class_error"] == pytest.approx(expected)


def test_a_class_without_images_has_no_error() -> None:
    logits, y = torch.randn(40, 3), torch.arange(40) % 2
    found = evaluate(lambda x: {"a": x}, Two(logits, y), torch.device("cpu"))["a"]
    assert found["class_error"][2] is None
    assert found["top5_error"] == 0


def test_dense_predictions_skip_ignored_positions() -> None:
    logits, y = torch.randn(31, 3, 2, 2), torch.randint(3, (31, 2, 2))
    y[:, 0, 0] = -100
    found = evaluate(lambda x: {"a": x}, Two(logits, y), torch.device("cpu"))["a"]
    kept = y != -100
    wrong = (logits.argmax(1) != y)[kept]
    assert found["images"] == 93
    assert found["top1_error"] == pytest.approx(100 * wrong.double().mean().item())


def peers_of(x: Tensor) -> dict[str, Tensor]:
    """Three read-outs of one tensor that carries the logits of all."""
    one, two, mean = x, x.roll(1, 0), (x + x.roll(1, 0)) / 2
    return {"mean": mean, "peer_1": one, "peer_2": two}


def test_the_mean_over_peers_comes_last() -> None:
    logits, y = 2 * torch.randn(50, 8), torch.arange(50) % 7
    cpu = torch.device("cpu")
    found = evaluate(peers_of, Two(logits, y), cpu, peers=("peer_1", "peer_2"))
    alone = evaluate(peers_of, Two(logits, y), cpu)
    assert list(found) == ["mean", "peer_1", "peer_2", "peer_mean"]
    assert {name: found[name] for name in alone} == alone
    one, two, mean = (found[name] for name in ("peer_1", "peer_2", "peer_mean"))
    for key in ("top1_error", "top5_error", "nll", "ece"):
        assert mean[key] == pytest.approx((one[key] + two[key]) / 2)
    assert mean["images"] == 50
    expected = [(a + b) / 2 for a, b in zip(one["class_error"][:7], two["class_error"][:7], strict=True)]
    assert mean["class_error"][:7] == pytest.approx(expected)
    assert mean["class_error"][7] is None


@pytest.mark.parametrize("dense", [False, True])
def test_pairs_of_peers_against_a_loop(dense: bool) -> None:
    shape = (2, 3) if dense else ()
    logits, y = torch.randn(50, 3, *shape), torch.randint(3, (50, *shape))
    y[::4] = -100
    readouts = {f"peer_{i}": torch.randn(3, 3) for i in (1, 2, 3)}

    def answers(x: Tensor) -> dict[str, Tensor]:
        return {name: torch.einsum("jk,bk...->bj...", w, x) for name, w in readouts.items()}

    named = [answer.argmax(1).flatten().tolist() for answer in answers(logits).values()]
    kept = [i for i, label in enumerate(y.flatten().tolist()) if label != -100]
    right = [[named[t][i] == y.flatten()[i].item() for i in kept] for t in range(3)]
    found = evaluate(answers, Two(logits, y), torch.device("cpu"), peers=tuple(readouts))
    mean = found["peer_mean"]
    assert mean["images"] == len(kept)
    for i in range(3):
        assert mean["both_right"][i][i] == pytest.approx(1 - found[f"peer_{i + 1}"]["top1_error"] / 100)
        assert mean["same_class"][i][i] == 1
        for j in range(3):
            both = sum(a and b for a, b in zip(right[i], right[j], strict=True))
            same = sum(named[i][k] == named[j][k] for k in kept)
            assert mean["both_right"][i][j] == pytest.approx(both / len(kept))
            assert mean["same_class"][i][j] == pytest.approx(same / len(kept))


def test_ties_do_not_part_a_network_from_itself() -> None:
    """In bfloat16 two classes are often equally likely."""
    logits, y = torch.randint(2, (50, 9)).bfloat16(), torch.arange(50) % 9
    found = evaluate(
        lambda x: {"a": x, "b": x.clone()}, Two(logits, y), torch.device("cpu"), peers=("a", "b")
    )
    assert found["peer_mean"]["same_class"] == [[1, 1], [1, 1]]
    assert found["peer_mean"]["both_right"][0][1] == pytest.approx(1 - found["a"]["top1_error"] / 100)


def test_pairs_are_summed_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the other process had seen the very same images."""
    loader = Two(torch.randn(50, 4), torch.arange(50) % 4)
    alone = evaluate(peers_of, loader, torch.device("cpu"), peers=Peers.peer_readouts)["peer_mean"]
    monkeypatch.setattr(distributed, "total", lambda tensor: 2 * tensor)
    both = evaluate(peers_of, loader, torch.device("cpu"), peers=Peers.peer_readouts)["peer_mean"]
    assert both["images"] == 100
    assert both["top1_error"] == pytest.approx(alone["top1_error"])
    for key in ("both_right", "same_class"):
        assert torch.allclose(torch.tensor(both[key]), torch.tensor(alone[key]))


def test_one_peer_has_no_others() -> None:
    logits, y = torch.randn(40, 3), torch.arange(40) % 3
    for peers in ((), ("peer_1",)):
        found = evaluate(peers_of, Two(logits, y), torch.device("cpu"), peers=peers)
        assert list(found) == ["mean", "peer_1", "peer_2"]


def test_peers_must_be_read_outs() -> None:
    loader = Two(torch.randn(40, 3), torch.arange(40) % 3)
    with pytest.raises(
        ValueError, match="the peer 'peer_3' is no read-out; the read-outs are mean, peer_1, peer_2"
    ):
        evaluate(peers_of, loader, torch.device("cpu"), peers=("peer_1", "peer_3"))
    with pytest.raises(ValueError, match="no read-out may be called 'peer_mean'"):
        evaluate(lambda x: {"a": x, "peer_mean": x}, loader, torch.device("cpu"), peers=("a", "peer_mean"))


class Peers(cohobate.Method):
    """Two networks that learn side by side, each from the labels; their mean is deployed."""

    peer_readouts = ("peer_1", "peer_2")

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        return {f"ce_{i}": cross_entropy(net(batch.x), batch.y) for i, net in enumerate(self.networks)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        one, two = (net(x) for net in self.networks)
        return {"ensemble": (one + two) / 2, "peer_1": one, "peer_2": two}

    def predictors(self) -> dict[str, nn.Module]:
        return {"ensemble": Mean(list(self.networks)), "peer_1": self.networks[0], "peer_2": self.networks[1]}


def test_a_run_records_its_peers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Flatten(), nn.Linear(48, 2)) for _ in range(2)]
    data = cohobate.arrays(np.random.default_rng(0).integers(0, 255, (80, 4, 4), np.uint8), np.arange(80) % 2)
    settings = {"epochs": 2, "batch_size": 16, "device": "cpu", "quiet": True}
    result = cohobate.fit(Peers(nets), data, tmp_path / "run", **settings)
    for record in [*result.history, result.facts["last"], result.facts["best"]]:
        measured = record["val"]
        assert list(measured) == ["ensemble", "peer_1", "peer_2", "peer_mean"]
        assert "class_error" not in measured["peer_mean"]
        assert len(measured["peer_mean"]["both_right"]) == 2
    assert result.facts["predictor"] == "ensemble"
    errors = [record["val"]["ensemble"]["top1_error"] for record in result.history]
    assert result.facts["best"]["val"]["ensemble"]["top1_error"] == min(errors)

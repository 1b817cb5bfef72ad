"""A plan of several phases that is stopped goes on in the phase where it was, to the same bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from zoo import StopAfter

from cohobate.commands import running
from cohobate.commands.train import train as trained
from cohobate.engine.checkpoint import read_state
from cohobate.engine.errors import Stopped
from cohobate.engine.signals import Stopper
from cohobate.models.build import build
from cohobate.recipes.energy import Energies
from cohobate.recipes.options import options

PLANS: dict[str, dict[str, Any]] = {
    "takd": {"assistants": ("resnet8",)},
    "fitnet_stages": {"hint_share": 0.5},
    "slkd": {"form": "sequential"},
    "reskd": {"res_students": ("resnet8", "resnet8"), "stop_share": None},
    "reskd via dml": {"via": "dml", "peer": "untrained", "stages": 1, "ema": 0.9},
    "ensemble": {},
    "kd+crd": {"crd_negatives": 32, "crd_dim": 8},
}


RESNET8 = sum(p.numel() for p in build("resnet8", 10).parameters())
TRAINED = {
    "takd": 2 * RESNET8,
    "slkd": 3 * RESNET8,
    "reskd": 3 * RESNET8,
    "reskd via dml": 4 * RESNET8,
    "ensemble": 2 * RESNET8,
}
"""The assistant and the student; two SL-teachers and the student; each network of a sum, and each learning
teacher of one. The last phase trains one network alone."""
PHASES = {"kd+crd": 1, "reskd": 3}
STOPS = [
    *((method, stop) for method in PLANS for stop in (3, 14)),
    ("reskd", 22),  # in R_2
    ("reskd", 8),  # the last step of S_0
    ("reskd", 9),  # the first one of R_1
    ("reskd via dml", 8),
]


def train(method: str, out: Path, teacher: Path, stop: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four steps an epoch, two epochs a phase."""
    monkeypatch.setattr(
        running, "Stopper", lambda minutes: Stopper(None) if stop is None else StopAfter(stop)
    )
    epochs = 4 if method == "fitnet_stages" else 2
    given = {"teacher": (f"resnet8:weights={teacher}",), "epochs": epochs, "train_images": 128}
    name = method.partition(" ")[0]
    config = options(name, {**given, **PLANS[method], "batch_size": 32, "device": "cpu", "lr": 0.05})
    trained(name, config, out, quiet=True)


def end(folder: Path) -> tuple[dict[str, torch.Tensor], list[Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return read_state(folder / "deployed.safetensors").tensors, [(x["phase"], x["losses"]) for x in lines]


@pytest.mark.parametrize(("method", "stop"), STOPS)
def test_a_stopped_plan_ends_in_the_same_bits(
    method: str, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 3 is in the first phase of the plan, step 14 in its second one."""
    if method == "kd+crd":
        stop = min(stop, 6)  # one phase, with a memory
    teacher = tmp_path / "teacher.safetensors"
    save_file(build("resnet8", 10).state_dict(), teacher)
    train(method, tmp_path / "whole", teacher, None, monkeypatch)
    with pytest.raises(Stopped):
        train(method, tmp_path / "cut", teacher, stop, monkeypatch)
    torch.manual_seed(99)
    train(method, tmp_path / "cut", teacher, None, monkeypatch)
    (one, lines), (two, others) = end(tmp_path / "whole"), end(tmp_path / "cut")
    assert lines == others
    assert len({phase for phase, _ in lines}) == PHASES.get(method, 2)
    assert one.keys() == two.keys()
    for key in one:
        assert torch.equal(one[key], two[key]), key
    found, again = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "cut"))
    for facts in (found, again):
        assert facts["train_seconds"] == pytest.approx(sum(p["train_seconds"] for p in facts["phases"]))
        for phase in facts["phases"]:
            del phase["train_seconds"]
    assert found["phases"] == again["phases"]
    assert found["found"] == again["found"]
    assert found["parameters_trained"] == again["parameters_trained"]
    assert found["parameters_trained"] == TRAINED.get(method, found["parameters_trained"])


def test_a_student_of_two_phases_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = tmp_path / "teacher.safetensors"
    save_file(build("resnet8", 10).state_dict(), teacher)
    train("fitnet_stages", tmp_path / "run", teacher, None, monkeypatch)
    facts = json.loads((tmp_path / "run" / "result.json").read_text())
    hint, student = facts["phases"]
    assert (hint["phase"], student["phase"]) == ("hint", "student")
    assert student["parameters_trained"] == RESNET8 == facts["parameters_deployed"]
    regressor = hint["parameters_trained"] - RESNET8
    assert 0 < regressor < RESNET8
    assert facts["parameters_trained"] == RESNET8 + regressor
    assert (hint["epochs"], hint["of"], student["epochs"]) == (2, 2, 2)


@pytest.mark.parametrize("ends", [1, 2])
def test_a_run_that_dies_between_two_phases(
    ends: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last checkpoint of a phase, before the next one has any: while the plan looks at energies."""
    teacher = tmp_path / "teacher.safetensors"
    save_file(build("resnet8", 10).state_dict(), teacher)
    train("reskd", tmp_path / "whole", teacher, None, monkeypatch)
    real, calls = Energies.add, 0

    def dying(self: Energies, network: Any) -> Any:
        nonlocal calls
        calls += self.job.logits(network, self.images) is not None
        if calls == ends:
            raise KeyboardInterrupt
        return real(self, network)

    with monkeypatch.context() as patch:
        patch.setattr(Energies, "add", dying)
        with pytest.raises(KeyboardInterrupt):
            train("reskd", tmp_path / "cut", teacher, None, monkeypatch)
    names = ["S_0", "R_1", "R_2"]
    begun = {path.parent.name for path in (tmp_path / "cut").glob("*/last.safetensors")}
    assert begun == set(names[:ends])
    torch.manual_seed(99)
    train("reskd", tmp_path / "cut", teacher, None, monkeypatch)
    (one, lines), (two, others) = end(tmp_path / "whole"), end(tmp_path / "cut")
    assert lines == others
    assert all(torch.equal(one[key], two[key]) for key in one)
    found = [json.loads((tmp_path / name / "result.json").read_text())["found"] for name in ("whole", "cut")]
    assert found[0] == found[1]
    headers = [read_state(tmp_path / name / "deployed.safetensors").facts for name in ("whole", "cut")]
    assert headers[0] == headers[1]

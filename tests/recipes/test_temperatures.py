"""A temperature that changes over the run, for every method that has one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from by_name import plan_of
from safetensors.torch import save_file
from torch import Tensor
from zoo import CLASSES, batch, student, toy_images

from cohobate import cli
from cohobate.core import Method
from cohobate.core.courses import Course
from cohobate.data.arrays import arrays
from cohobate.engine.randomness import seed_all
from cohobate.methods.kd import KD
from cohobate.models.build import build
from cohobate.recipes.catalogue import METHODS
from cohobate.recipes.job import Job
from cohobate.recipes.options import options, own_options

SOFTENED = [name for name in METHODS if "temperature" in own_options(name)]
MORE: dict[str, dict[str, Any]] = {
    "takd": {"assistants": ("resnet8",)},
    "dgkd": {"assistants": ("resnet8",)},
    "crd": {"negatives": 8, "dim": 4},
    "okddip": {"branches": 3},
    "born_again": {"generations": 2},
    "deit": {"target": "soft"},
    "l2": {"of": "probabilities"},
    "reskd": {"loss": "kl", "stages": 1},
    "ensemble": {"loss": "probabilities"},
    "trained_together": {"loss": "kl"},
}
CASES: list[tuple[str, dict[str, Any]]] = [(name, MORE.get(name, {})) for name in SOFTENED]
CASES += [("slkd", {"form": form, "fuse": "probabilities"}) for form in ("sequential", "per_step")]
CASES += [("dml", {"in_turns": True}), ("dml", {"target": "mean_probabilities"})]
CASES += [("frskd", {"sla": True}), ("frskd", {"soft_labels": "paper"}), ("byot", {"scaled": False})]


def test_every_kind_of_method_is_here() -> None:
    assert len(SOFTENED) >= 25
    others = {"baseline", "stochastic_depth", "fitnet", "at", "sp", "rkd", "overhaul", "reviewkd", "sad"}
    assert others & set(SOFTENED) == set()


def phases(name: str, teacher: Path, temperature: Any, more: dict[str, Any]) -> list[Method]:
    """What each phase of the method trains, with the random numbers of seed 0."""
    learns = {"teacher": (f"resnet8:weights={teacher}",)} if needs_teacher(name) else {}
    given = {
        "model": student(name, teacher.parent),
        "temperature": temperature,
        "epochs": 2,
        **learns,
        **more,
    }
    plan = plan_of(name, Job(options(name, given), arrays(*toy_images(40, 0))))
    seed_all(0)
    return [phase.method.double() for phase in plan]


def needs_teacher(name: str) -> bool:
    from cohobate.recipes.recipe import find

    return find(name).needs_teacher


def losses(method: Method, progress: float) -> dict[str, Tensor]:
    data = batch(dtype=torch.float64)._replace(progress=torch.tensor(progress, dtype=torch.float64))
    torch.manual_seed(1)
    return {key: value for turn in range(method.turns) for key, value in method(data, turn).items()}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    torch.manual_seed(5)
    save_file(build("resnet8", CLASSES).state_dict(), path)
    return path


@pytest.mark.parametrize(("name", "more"), CASES, ids=str)
def test_the_loss_is_that_of_the_temperature_of_the_moment(
    name: str, more: dict[str, Any], teacher: Path
) -> None:
    changed = False
    for progress, temperature in ((0.0, 8.0), (0.5, 5.0), (1.0, 2.0)):
        course = phases(name, teacher, "8..2", more)
        for one, two in zip(course, phases(name, teacher, temperature, more), strict=True):
            found, wanted = losses(one, progress), losses(two, progress)
            assert found.keys() == wanted.keys()
            for key, value in found.items():
                torch.testing.assert_close(value, wanted[key], rtol=1e-9, atol=1e-12)
            changed |= progress > 0 and found != losses(course[0], 0.0)
    assert changed


def test_one_graph_serves_the_whole_course() -> None:
    """Progress is a tensor: another temperature compiles nothing."""
    from torch._dynamo.testing import CompileCounter

    from cohobate.core import Output

    torch._dynamo.reset()
    counter, term = CompileCounter(), KD(temperature="8..2")
    compiled = torch.compile(term, backend=counter, fullgraph=True, dynamic=False)
    generator = torch.Generator().manual_seed(0)
    student, taught = (Output(torch.randn(16, CLASSES, generator=generator)) for _ in range(2))
    for progress, temperature in ((0.0, 8.0), (0.25, 6.5), (1.0, 2.0)):
        data = batch()._replace(progress=torch.tensor(progress))
        torch.testing.assert_close(
            compiled(student, taught, data), KD(temperature=temperature)(student, taught, data)
        )
    assert counter.frame_count == 1


def test_a_plain_number_stays_one() -> None:
    assert type(KD(temperature=4.0).temperature) is float
    assert KD(temperature="8..2").temperature == Course(8.0, 2.0)
    assert str(Course.of("8.0..0.5")) == "8..0.5"
    assert options("kd", {"temperature": "8.0..2"}).temperature == "8..2"  # type: ignore[attr-defined]
    assert options("kd", {"temperature": "3"}).temperature == 3.0  # type: ignore[attr-defined]


WRONG = ["8..0", "-1..2", "8..", "8..4..2", "a..b", "nan..2", "8..inf", "..", "warm"]


@pytest.mark.parametrize("text", WRONG)
def test_both_ends_are_checked(text: str) -> None:
    with pytest.raises(ValueError, match=r"temperature.*'" + text.replace(".", r"\.")):
        KD(temperature=text)
    with pytest.raises(ValueError, match=r"kd: temperature: .*'" + text.replace(".", r"\.")):
        options("kd", {"temperature": text})
    with pytest.raises(ValueError, match="above 0"):
        KD(temperature="2..0")


def test_without_progress_it_says_what_to_give() -> None:
    from cohobate.core import Output

    data = batch()._replace(progress=None)
    output = Output(torch.randn(16, CLASSES))
    with pytest.raises(ValueError, match=r"temperature of KD changes from 8 to 2 .*or a plain number"):
        KD(temperature="8..2")(output, output, data)


def test_a_run_records_it_and_a_sweep_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = [
        "--model",
        "resnet8",
        "--data",
        "digits",
        "--epochs",
        "1",
        "--train-images",
        "64",
        "--batch-size",
        "32",
    ]
    out = tmp_path / "sweep"
    cli.main(
        ["sweep", "self_guidance", "--temperature", "8..2,4", "--out", str(out), "--device", "cpu", *shared]
    )
    configs = [yaml.safe_load(path.read_text()) for path in out.rglob("run.yaml")]
    assert {config["temperature"] for config in configs} == {"8..2", 4.0}
    assert "8..2" in capsys.readouterr().out
    results = [json.loads(path.read_text()) for path in out.rglob("result.json")]
    assert len(results) == 2


def test_slkds_divergence_is_not_computed_of_a_changing_temperature(tmp_path: Path) -> None:
    from cohobate.report.figures.slkd import divergence_curves
    from cohobate.runs.reading import Run

    line = {"epoch": 1, "phase": "train", "losses": {"kd_sl_1": 1.0}}
    config = {"alpha": 0.1, "temperature": "8..2", "sl_weight": 3.0}
    run = Run(tmp_path, {**config, "method": "slkd"}, [line], None, {})
    with pytest.raises(ValueError, match=r"temperature changed over the run \(8\.\.2\)"):
        divergence_curves(run)

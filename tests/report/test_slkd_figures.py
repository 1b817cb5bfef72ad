"""The figures of SLKD's paper, drawn from run folders whose numbers the test chose."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest
from run_folders import MakeRun

from cohobate.methods.slkd import eta
from cohobate.report.figures import slkd
from cohobate.runs.reading import Run, read_run

OPTIONS = {"alpha": 0.1, "temperature": 4.0, "teacher_weight": 1.0, "sl_weight": 3.0}
STUDENT = {"ce_student": 0.5, "kd_teacher": 14.4, "kd_sl": 21.6}
LEARNERS = {"ce_sl_1": 0.4, "kd_sl_1": 7.2, "ce_sl_2": 0.4, "kd_sl_2": 3.6}
ACCURACIES = {"student": 40.0, "sl_teacher_1": 50.0, "sl_teacher_2": 52.0, "sl_fused": 55.0}


def line(phase: str, epoch: int, losses: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    measured = {name: {"top1_error": 100 - ACCURACIES[name] - epoch} for name in names}
    return {"phase": phase, "epoch": epoch, "losses": losses, "val": measured}


def relogged(run: Run, lines: list[dict[str, Any]]) -> Run:
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return read_run(run.folder)


@pytest.fixture
def parallel(make_run: MakeRun) -> Run:
    run = make_run("parallel", method="slkd", options=OPTIONS)
    names = tuple(ACCURACIES)
    teacher = line("teacher", 1, {"ce": 1.0}, ()) | {"val": {"network": {"top1_error": 30.0}}}
    return relogged(run, [teacher, *(line("train", e, STUDENT | LEARNERS, names) for e in (1, 2))])


@pytest.fixture
def sequential(make_run: MakeRun) -> Run:
    run = make_run("sequential", method="slkd", options=OPTIONS)
    first = [line("sl_teachers", e, LEARNERS, tuple(ACCURACIES)[1:]) for e in (1, 2)]
    second = [line("student", e, STUDENT, ("student",)) for e in (1, 2, 3)]
    return relogged(run, first + second)


def words(svg: str) -> str:
    return " ".join("".join(ElementTree.fromstring(svg).itertext()).split())


def test_terms_are_divided_by_their_factors(parallel: Run) -> None:
    """14.4 = 1 x 0.9 x 16 x 1 nat; 21.6 = 3 x 0.9 x 16 x 0.5; 7.2 = 0.9 x 16 x 0.5."""
    curves = slkd._divergences(parallel)
    expected = {"KL(T || S)": 1.0, "KL(SL || S)": 0.5, "KL(T || SL 1)": 0.5, "KL(T || SL 2)": 0.25}
    assert {name: curve[2] for name, curve in curves.items()} == pytest.approx(expected)
    assert all(list(curve) == [1, 2] for curve in curves.values())  # the teacher's phase has no part in it


@pytest.mark.parametrize("teacher_weight", [1.0, 0.0])
def test_an_eta_that_is_not_given_is_the_methods(make_run: MakeRun, teacher_weight: float) -> None:
    """The figure divides by the eta that the losses multiply with."""
    options = OPTIONS | {"sl_weight": None, "teacher_weight": teacher_weight}
    run = relogged(make_run(method="slkd", options=options), [line("train", 1, {"kd_sl": 14.4}, ())])
    assert slkd._divergences(run)["KL(SL || S)"] == pytest.approx({1: 1 / eta(teacher_weight, None)})


def test_both_figures_of_the_parallel_form(parallel: Run) -> None:
    (divergence, *_), (enforcement, caption, _) = slkd.figures(parallel)
    for name in ("KL(T || S)", "KL(SL || S)", "KL(T || SL 2)"):
        assert name in words(divergence)
    for name in ("fused", "SL-teacher 1 alone", "SL-teacher 2 alone", "val accuracy"):
        assert name in words(enforcement)
    assert "student" not in words(enforcement)
    assert "enforcement" in caption


def test_the_sequential_form_shows_its_phases(sequential: Run) -> None:
    curves = slkd._divergences(sequential)
    assert list(curves["KL(T || SL 1)"]) == [1, 2]
    assert list(curves["KL(SL || S)"]) == [3, 4, 5]
    divergence, enforcement = (figure.svg for figure in slkd.figures(sequential))
    assert "sl_teachers" in words(divergence)
    assert "student" in words(divergence)
    assert "SL-teacher 2 alone" in words(enforcement)


def test_accuracy_is_100_less_the_error(parallel: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    monkeypatch.setattr(slkd.Chart, "line", lambda self, curve, name, *how: drawn.update({name: dict(curve)}))
    monkeypatch.setattr(slkd.Chart, "svg", lambda self, title: title)
    slkd.enforcement_curves(parallel)
    assert list(drawn) == ["fused", "SL-teacher 1 alone", "SL-teacher 2 alone"]
    assert drawn["fused"] == pytest.approx({1: 56.0, 2: 57.0})


def test_the_same_run_gives_the_same_bytes(parallel: Run) -> None:
    assert list(slkd.figures(parallel)) == list(slkd.figures(parallel))


def test_without_a_split_at_each_epoch_only_the_divergence_is_left(parallel: Run) -> None:
    bare = relogged(parallel, [{k: v for k, v in x.items() if k != "val"} for x in parallel.metrics])
    assert len(list(slkd.figures(bare))) == 1
    with pytest.raises(ValueError, match="has not measured sl_fused"):
        slkd.enforcement_curves(bare)


@pytest.mark.parametrize("name", ["kd", "baseline"])
def test_other_runs_have_none_of_it(make_run: MakeRun, name: str) -> None:
    run = make_run(method=name)
    assert list(slkd.figures(run)) == []
    with pytest.raises(ValueError, match=rf"run \({name}\) has logged no KL term of SLKD"):
        slkd.divergence_curves(run)
    with pytest.raises(ValueError, match=rf"run \({name}\) has not measured sl_fused"):
        slkd.enforcement_curves(run)


def test_a_run_that_has_logged_nothing(make_run: MakeRun) -> None:
    run = relogged(make_run(method="slkd", options=OPTIONS), [])
    assert list(slkd.figures(run)) == []


def test_weights_must_be_recorded(make_run: MakeRun) -> None:
    """A method trained from Python is not described by run.yaml."""
    run = relogged(make_run(method="SLKD"), [line("train", 1, STUDENT, ())])
    with pytest.raises(ValueError, match=r"does not record alpha, temperature, teacher_weight of the term"):
        slkd.divergence_curves(run)
    assert list(slkd.figures(run)) == []


def test_a_factor_of_zero_tells_nothing(make_run: MakeRun) -> None:
    run = make_run(method="slkd", options=OPTIONS | {"alpha": 1.0})
    run = relogged(run, [line("train", 1, LEARNERS, ())])
    with pytest.raises(ValueError, match="kd_sl_1 has the factor 0"):
        slkd.divergence_curves(run)

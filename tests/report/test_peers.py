"""Peers in reports: how alike they are over the epochs, and every read-out beside the deployed one."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from run_folders import MakeRun

from cohobate.report.figures import peers
from cohobate.report.files import comparison_files
from cohobate.report.tables.comparison import compare
from cohobate.report.tables.readout_table import readout_caption, readout_rows, readouts_csv
from cohobate.report.tables.stats import Stat
from cohobate.report.tables.table import caption, to_json, to_markdown
from cohobate.runs.reading import Run, read_run

from .test_pages import check, comparison_page, run_page

SAME = [[1.0, 0.6, 0.8], [0.6, 1.0, 0.7], [0.8, 0.7, 1.0]]


def measured(error: float, both: float) -> dict[str, dict[str, Any]]:
    """A leader, two peers that are right half of the time, both at once as often as told: s = 4 both - 1."""
    plain = {"top1_error": error, "top5_error": error / 2, "nll": 1.0, "ece": 2.0, "images": 100}
    half = plain | {"top1_error": 50.0, "top5_error": 20.0}
    shares = {"both_right": [[0.5, both], [both, 0.5]], "same_class": SAME}
    return {"leader": plain, "peer_1": half, "peer_2": half, "peer_mean": half | shares}


def with_peers(run: Run, both: tuple[float, ...], split: str = "val", error: float = 30.0) -> Run:
    """The run, as if it had two peers that are both right about so many images at each epoch."""
    lines = [
        {"phase": "train", "epoch": e, "losses": {"ce": 1.0}, split: measured(error, share)}
        for e, share in enumerate(both, 1)
    ]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if run.result is not None:
        last = {"epoch": len(both), "val": measured(error, both[-1]), "test": measured(error, both[-1])}
        result = run.result | {"predictor": "leader", "last": last, "best": last}
        (run.folder / "result.json").write_text(json.dumps(result))
    return read_run(run.folder)


@pytest.fixture
def runs(make_run: MakeRun) -> list[Run]:
    """A baseline that knows no peers, and two methods of two seeds that have them."""
    shares = {"okddip": ((0.3, 0.4), (0.3, 0.45)), "ffm_cd": ((0.25, 0.3), (0.25, 0.35))}
    return [
        *(make_run(f"base/{s}", method="base", seed=s, last=40 + s) for s in (0, 1)),
        *(
            with_peers(make_run(f"{method}/{seed}", method=method, seed=seed), both, error=30.0 + 2 * seed)
            for method, seeds in shares.items()
            for seed, both in enumerate(seeds)
        ),
    ]


def words(svg: str) -> str:
    return " ".join("".join(ElementTree.fromstring(svg).itertext()).split())


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is handed to the chart, instead of a chart."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(
        peers.Chart, "line", lambda self, curve, name, *how: found.update({name: dict(curve)})
    )
    monkeypatch.setattr(peers.Chart, "svg", lambda self, title: title)
    return found


def test_what_a_run_draws(runs: list[Run], drawn: dict[str, Any]) -> None:
    peers.similarity_curves(runs[2])
    assert drawn["agreement s"] == pytest.approx({1: 0.2, 2: 0.6})
    assert drawn["same class, share of images"] == pytest.approx(
        {1: 0.7, 2: 0.7}
    )  # the mean of 0.6, 0.8 and 0.7


def test_a_run_shows_its_peers(runs: list[Run]) -> None:
    (figure,) = peers.figures(runs[2])
    svg, text, _ = figure
    assert "similarity of the peers, val" in words(svg)
    assert "same class" in words(svg)
    assert "mean over pairs" in text
    assert list(peers.figures(runs[2])) == [figure]  # the same bytes
    assert list(peers.figures(runs[0])) == []
    with pytest.raises(ValueError, match=r"0 \(base\) has not measured peer_mean"):
        peers.similarity_curves(runs[0])


def test_the_first_split_that_was_measured(make_run: MakeRun) -> None:
    run = with_peers(make_run(), (0.3, 0.4), split="test")
    assert "similarity of the peers, test" in words(peers.similarity_curves(run))


def test_agreement_of_several_runs(runs: list[Run]) -> None:
    text = words(peers.agreement_curves(runs, "val"))
    assert "okddip, mean of 2" in text
    assert "ffm_cd, mean of 2" in text
    assert "base" not in text
    with pytest.raises(ValueError, match="none of the 2 runs measured peer_mean on the val split"):
        peers.agreement_curves(runs[:2], "val")
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        peers.agreement_curves(runs, "dev")


def test_a_method_has_one_colour_in_all_figures(runs: list[Run]) -> None:
    svg = peers.agreement_curves(runs, "val")
    assert not re.search("stroke: #0072b2", svg)  # the first colour is the baseline's
    assert len(re.findall("stroke: #d55e00", svg)) == 2 + 1 + 1  # seeds, mean, legend


def test_where_agreement_is_undefined_there_is_a_gap(make_run: MakeRun, drawn: dict[str, Any]) -> None:
    run = with_peers(make_run(), (0.3, 0.4))
    for line in run.metrics[:1]:
        line["val"]["peer_mean"]["both_right"] = [[1.0, 1.0], [1.0, 1.0]]
    peers.agreement_curves([run], "val")
    ((_, curve),) = drawn.items()
    assert math.isnan(curve[1])
    assert curve[2] == pytest.approx(0.6)


def test_every_read_out_in_one_table(runs: list[Run]) -> None:
    comparison = compare(runs, "base")
    rows = readout_rows(comparison)
    assert [(r["method"], r["read-out"]) for r in rows[:6]] == [
        ("base", "network (deployed)"),
        ("base", "other"),
        ("okddip", "leader (deployed)"),
        ("okddip", "peer_1"),
        ("okddip", "peer_2"),
        ("okddip", "peer_mean"),
    ]
    leader, mean = rows[2], rows[5]
    assert (leader["top-1 error"], leader["top-5 error"]) == ("31.00 ± 1.41", "15.50 ± 0.71")
    assert {leader[key] for key in ("agreement s", "disagreement", "Q")} == {"—"}
    # Both right 0.4 and 0.45 of the images: s 0.6 and 0.8, disagreement 0.2 and 0.1,
    # Q (0.16 - 0.01) / 0.17 and (0.2025 - 0.0025) / 0.205.
    assert (mean["agreement s"], mean["disagreement"]) == ("0.700 ± 0.141", "0.150 ± 0.071")
    assert mean["Q"] == f"{(0.15 / 0.17 + 0.2 / 0.205) / 2:.3f} ± {(0.2 / 0.205 - 0.15 / 0.17) / 2**0.5:.3f}"
    assert "agreement s" in readout_caption(comparison)


def test_the_main_table_speaks_of_what_is_deployed_alone(runs: list[Run]) -> None:
    comparison = compare(runs, "base")
    text = to_markdown(comparison)
    first, second = text.split("Every read-out")
    assert first.startswith(caption(comparison))
    assert "peer_mean" not in first
    assert "| okddip | peer_mean | 50.00 ± 0.00 | 20.00 ± 0.00 | 0.700 ± 0.141 |" in second


def test_read_outs_at_full_precision(runs: list[Run]) -> None:
    comparison = compare(runs, "base")
    lines = list(csv.DictReader(io.StringIO(readouts_csv(comparison))))
    mean = next(x for x in lines if (x["label"], x["readout"]) == ("ffm_cd", "peer_mean"))
    assert float(mean["agreement_mean"]) == pytest.approx((0.2 + 0.4) / 2)
    assert float(mean["agreement_std"]) == pytest.approx(0.2 / 2**0.5)
    assert (mean["deployed"], mean["n"]) == ("False", "2")
    assert lines[0]["agreement_mean"] == ""
    found = json.loads(to_json(comparison))["entries"][2]["readouts"][-1]
    assert found["agreement"]["mean"] == float(mean["agreement_mean"])


def test_undefined_in_one_seed_is_the_mean_of_the_others(make_run: MakeRun) -> None:
    runs = [with_peers(make_run(f"{s}", seed=s), (0.4,)) for s in (0, 1)]
    runs[0].outcome["last"]["test"]["peer_mean"]["both_right"] = [[0.0, 0.0], [0.0, 0.0]]
    found = compare(runs, "supervised").entries[0].readouts[-1]
    assert found.agreement == Stat(pytest.approx(0.6), None, 1)
    assert found.disagreement == Stat(pytest.approx(0.1), pytest.approx(0.2 / 2**0.5), 2)


def test_one_read_out_each_needs_no_second_table(make_run: MakeRun) -> None:
    runs = [make_run("a"), make_run("b", method="kd")]
    for run in runs:
        del run.outcome["last"]["test"]["other"]
    comparison = compare(runs, "supervised")
    assert readout_rows(comparison) == []
    assert "read-out" not in to_markdown(comparison)
    files = comparison_files(comparison, runs)
    assert "readouts.csv" not in files
    assert "read-out" not in files["index.html"]


def test_read_outs_without_peers_have_no_columns_for_them(make_run: MakeRun) -> None:
    comparison = compare([make_run()], "supervised")
    assert list(readout_rows(comparison)[0]) == ["method", "read-out", "top-1 error", "top-5 error"]
    assert "agreement" not in readout_caption(comparison)


def test_pages_and_files(runs: list[Run]) -> None:
    comparison = compare(runs, "base")
    page = check(comparison_page(comparison, runs))
    for expected in ("Every read-out", "leader (deployed)", "val agreement s of the peers"):
        assert expected in page.text
    assert page.tags.count("svg") == 3  # val errors, whole and enlarged; agreement
    files = comparison_files(comparison, runs)
    assert {"agreement-val.svg", "readouts.csv"} < files.keys()
    page = check(run_page(runs[2]))
    assert "How similar the peers are" in page.text
    assert "both_right" not in page.text
    assert page.text.count("peer_mean") >= 2  # its errors, among the metrics and the curves


def test_an_unfinished_run_shows_its_peers(make_run: MakeRun) -> None:
    run = with_peers(make_run(finished=False), (0.3, 0.4))
    assert run.predictor == "leader"
    assert check(run_page(run)).tags.count("svg") == 3

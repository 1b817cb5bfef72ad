"""What read-outs cost and what a plan found out, in tables, on pages and in the terminal."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest
from rich.console import Console
from run_folders import MakeRun

from cohobate.report.files import comparison_files
from cohobate.report.tables.comparison import Comparison, compare
from cohobate.report.tables.found import found_lines, found_notes
from cohobate.report.tables.readout_table import readout_caption, readout_rows, readouts_csv
from cohobate.report.tables.readouts import reporting
from cohobate.report.tables.table import rows_of, to_json, to_markdown
from cohobate.report.tables.terminal import result_table
from cohobate.runs.reading import Run

from .test_pages import check, comparison_page, run_page

SIZE, MACS = 269_722, 40_551_808
"""Of resnet20 on CIFAR-10."""


def result_of(stages: int, error: float = 8.0, **found: Any) -> dict[str, Any]:
    """Of a ResKD run whose networks are all resnet20: S_n is deployed, S_0 to S_(n-1) are beside it."""
    names = {"student": stages + 1} | {f"S_{i}": i + 1 for i in range(stages)}
    measured = {
        name: {"top1_error": error + stages + 1 - size, "top5_error": 1.0} for name, size in names.items()
    }
    readouts = {name: {"parameters": size * SIZE, "macs": size * MACS} for name, size in names.items()}
    energy = {"T": 0.9, **{f"S_{i}": 0.7 + i / 10 for i in range(stages + 1)}}
    reason = f"the energy of S_{stages} on D_v is 89 % of the teacher's"
    found = {
        "stopped": "energy",
        "reason": reason,
        "energy": energy,
        "energy_images": 4500,
        "energy_split": "train",
        "threshold": energy[f"S_{stages}"],
        **found,
    }
    epoch = {"epoch": 4, "val": measured, "test": measured}
    whole = readouts["student"]
    sizes = {"parameters_deployed": whole["parameters"], "macs": whole["macs"], "readouts": readouts}
    return {"predictor": "student", "last": epoch, "best": epoch, "found": found, **sizes}


def reskd(make_run: MakeRun, seed: int, result: dict[str, Any]) -> Run:
    run = make_run(f"reskd/{seed}", method="reskd", seed=seed)
    run.outcome.update(result)
    return run


@pytest.fixture
def runs(make_run: MakeRun) -> list[Run]:
    """A baseline of before costs were recorded, and ResKD, which ends after another stage with each seed."""
    return [
        *(make_run(f"base/{seed}", method="baseline", seed=seed) for seed in (0, 1)),
        reskd(make_run, 0, result_of(1, error=8.0)),
        reskd(make_run, 1, result_of(2, error=7.0)),
    ]


@pytest.fixture
def comparison(runs: list[Run]) -> Comparison:
    return compare(runs, "baseline")


def row(comparison: Comparison, method: str, readout: str) -> dict[str, str]:
    rows = readout_rows(comparison)
    return next(r for r in rows if r["method"] == method and r["read-out"].split(" (")[0] == readout)


def printed(run: Run, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(result_table(run.outcome, run.headline))
    return console.export_text()


# ---------------------------------------------------------------- costs, in a comparison


def test_each_prefix_has_its_own_error_and_costs(comparison: Comparison) -> None:
    first, second = row(comparison, "reskd", "S_0"), row(comparison, "reskd", "S_1")
    # 8 + 1 and 7 + 2; with the second seed alone 7 + 1.
    assert (first["top-1 error"], first["parameters"], first["MACs"]) == ("9.00 ± 0.00", "0.27 M", "40.6 M")
    assert (second["top-1 error"], second["parameters"], second["MACs"]) == ("8.00", "0.54 M", "81.1 M")
    assert (first["n"], second["n"]) == ("2", "1")
    student = row(comparison, "reskd", "student")
    # Two and three networks: the mean 2.5, the deviation 1 / sqrt(2) = 0.707 of one.
    assert (student["parameters"], student["MACs"]) == ("0.67 ± 0.19 M", "101.4 ± 28.7 M")
    main = rows_of(comparison)[1]
    assert (main["deployed"], main["MACs"]) == (student["parameters"], student["MACs"])


def test_runs_from_before_have_dashes(comparison: Comparison, runs: list[Run]) -> None:
    for readout in ("network", "other"):
        assert {row(comparison, "baseline", readout)[key] for key in ("parameters", "MACs")} == {"—"}
    only_old = compare(runs[:2], "baseline")
    assert list(readout_rows(only_old)[0]) == ["method", "read-out", "top-1 error", "top-5 error"]
    assert "MACs" not in readout_caption(only_old)
    (line, _) = csv.DictReader(io.StringIO(readouts_csv(only_old)))
    assert (line["parameters_mean"], line["macs_std"]) == ("", "")


def test_the_mean_of_peers_has_no_cost(make_run: MakeRun) -> None:
    measured = {"network": {"top1_error": 9.0}, "peer_mean": {"top1_error": 8.0}}
    epoch = {"epoch": 4, "val": measured, "test": measured}
    costs = {"network": {"parameters": SIZE, "macs": MACS}}
    run = make_run(last=0.0, readouts=costs)
    run.outcome["last"] = epoch
    found = compare([run], "supervised")
    assert row(found, "supervised", "network")["MACs"] == "40.6 M"
    assert {row(found, "supervised", "peer_mean")[key] for key in ("parameters", "MACs")} == {"—"}
    assert "n" not in readout_rows(found)[0]
    assert re.search(r"peer_mean +8\.00 +— +—", printed(run))


def test_the_number_of_seeds_stands_where_it_differs(comparison: Comparison, runs: list[Run]) -> None:
    assert "n: the seeds that have the read-out" in readout_caption(comparison)
    alike = compare(runs[:3], "baseline")
    assert "n" not in readout_rows(alike)[0]
    assert "n:" not in readout_caption(alike)


def test_costs_in_files(comparison: Comparison, runs: list[Run]) -> None:
    files = comparison_files(comparison, runs)
    lines = {(x["label"], x["readout"]): x for x in csv.DictReader(io.StringIO(files["readouts.csv"]))}
    student, second = lines["reskd", "student"], lines["reskd", "S_1"]
    assert float(student["parameters_mean"]) == 2.5 * SIZE
    assert float(student["macs_std"]) == pytest.approx(MACS / 2**0.5)
    assert (float(second["macs_mean"]), second["macs_std"], second["n"]) == (2 * MACS, "", "1")
    assert lines["baseline", "network"]["macs_mean"] == ""
    readouts = json.loads(to_json(comparison))["entries"][1]["readouts"]
    assert readouts[2]["parameters"] == {"mean": 2 * SIZE, "std": None, "n": 1}
    assert json.loads(to_json(comparison))["entries"][0]["readouts"][0]["macs"] is None
    text = to_markdown(comparison)
    assert "| reskd | S_1 | 1 | 8.00 | 1.00 | 0.54 M | 81.1 M |" in text
    assert "layers behind an early exit do not count" in text
    page = check(comparison_page(comparison, runs))
    assert "0.67 ± 0.19 M" in page.text
    assert "what several of its networks share counts once" in page.text


# ---------------------------------------------------------------- costs, of one run


def test_the_page_of_a_run_has_its_read_outs(runs: list[Run]) -> None:
    text = run_page(runs[3])
    page = check(text)
    cells = [re.findall(r">([^<]+)</t[hd]>", line) for line in text.splitlines() if "<tr><th" in line]
    assert ["student (deployed)", "0.81 M", "121.7 M", "7.00"] in cells
    assert ["S_1", "0.54 M", "81.1 M", "8.00"] in cells
    assert "test top-1 error, %" in page.text
    assert "<h3>Read-outs</h3>" not in run_page(runs[0])


def test_one_read_out_needs_no_table_of_its_own(make_run: MakeRun) -> None:
    run = make_run(readouts={"network": {"parameters": SIZE, "macs": MACS}})
    assert "<h3>Read-outs</h3>" not in run_page(run)


def test_the_terminal_has_costs_where_they_are_recorded(runs: list[Run]) -> None:
    text = printed(runs[3])
    assert re.search(r"param- +\n.* eters +MACs\n", text)
    assert len(re.findall(r"test +S_1 +8\.00 +1\.00 +0\.54 M +81\.1 M", text)) == 2  # last and best
    assert "…" not in text
    old = printed(runs[0])
    assert "MACs" not in old
    assert re.search(r"last, 4 +test +network +10\.00", old)


def test_the_table_of_a_long_run_fits_80_columns(make_run: MakeRun) -> None:
    names = ("network", "self_teacher")
    measures = {"top1_error": 10.0, "top5_error": 10.0, "nll": 10.0, "ece": 10.0}
    epoch = {"epoch": 200, "val": dict.fromkeys(names, measures), "test": dict.fromkeys(names, measures)}
    run = make_run(readouts={name: {"parameters": 25_600_000, "macs": 411_000_000} for name in names})
    run.outcome.update(last=epoch, best=epoch)
    text = printed(run)
    assert "…" not in text
    assert "self_teacher" in text
    assert "25.60 M" in text
    assert "411.0 M" in text


# ---------------------------------------------------------------- what a plan found out


def test_what_was_found_in_words() -> None:
    assert found_lines(result_of(1)) == [
        "The plan ended with 1 res-student: the energy of S_1 on D_v is 89 % of the teacher's.",
        "Energy on D_v (mean of the summed squares of the probabilities): T 0.9000, S_0 0.7000 (77.8 % of "
        "T's), S_1 0.8000 (88.9 % of T's).",
        "D_v: 4,500 images, drawn from the training split.",
        "Threshold of adaptive inference, the energy of the whole sum on D_v: 0.8000.",
    ]
    held_out = found_lines(result_of(1, energy_split="val", energy_images=1))
    assert "D_v: 1 image, the validation split." in held_out


def test_a_baseline_of_reskd_has_energies_and_no_end() -> None:
    result = result_of(1)
    for key in ("stopped", "reason"):
        del result["found"][key]
    del result["found"]["energy"]["T"]
    assert found_lines(result)[0].endswith("S_0 0.7000, S_1 0.8000.")
    assert not any("ended" in line for line in found_lines(result))


def test_what_is_not_known_here_is_shown_as_it_is() -> None:
    assert found_lines({"found": {"best_gamma": [1, 2]}}) == ["Best gamma: [1, 2]."]
    assert found_lines({"found": {}}) == found_lines({}) == []


def test_found_on_the_page_and_in_the_terminal(runs: list[Run]) -> None:
    page, text = check(run_page(runs[3])).text, " ".join(printed(runs[3]).split())
    for line in found_lines(runs[3].outcome):
        assert line in page
        assert line in text
    assert "What the plan found" in page
    assert "What the plan found" not in run_page(runs[0])


def test_a_comparison_says_why_each_seed_ended(comparison: Comparison, runs: list[Run]) -> None:
    expected = (
        "reskd: the plan ended with 1 res-student (seed 0): the energy of S_1 on D_v is 89 % of the "
        "teacher's; the plan ended with 2 res-students (seed 1): the energy of S_2 on D_v is 89 % of the "
        "teacher's."
    )
    assert expected in comparison.notes
    assert expected in check(comparison_page(comparison, runs)).text
    assert found_notes([runs[3], runs[2]]) == [expected]  # in the order of the seeds
    assert found_notes(runs[:2]) == []


def test_a_reported_read_out_stands_with_its_own_cost(runs: list[Run]) -> None:
    """S_0 in the place of the deployed sum; a method without it keeps its own, and a note says so."""
    shown = compare(reporting(runs, "S_0"), "baseline")
    entry = next(entry for entry in shown.entries if entry.method == "reskd")
    costs = [run.outcome["readouts"]["S_0"] for run in runs if run.outcome["method"] == "reskd"]
    assert entry.macs.mean == pytest.approx(sum(cost["macs"] for cost in costs) / len(costs))
    assert entry.parameters_deployed.mean == pytest.approx(costs[0]["parameters"])
    assert entry.macs.mean < runs[2].outcome["macs"]
    assert any("are those of its read-out S_0, its size and cost too; deployed is" in n for n in shown.notes)


def test_seeds_that_ended_alike_are_said_once(make_run: MakeRun) -> None:
    alike = [reskd(make_run, s, result_of(2, reason="2 stages were asked for.")) for s in (0, 1, 2)]
    assert found_notes(alike) == [
        "reskd: the plan ended with 2 res-students (seeds 0, 1, 2): 2 stages were asked for."
    ]


def test_seeds_with_different_phases_are_told_apart(runs: list[Run]) -> None:
    """ResKD trains another number of phases where it ends after another res-student."""

    def plan(*names: str) -> list[dict[str, Any]]:
        return [{"phase": name, "epochs": 4, "of": 4} for name in names]

    said = "its parameters trained and its train time are those of all of them, a parameter counted once."
    runs[2].outcome["phases"] = plan("S_0", "R_1")
    runs[3].outcome["phases"] = plan("S_0", "R_1")
    assert f"reskd is trained in 2 phases (S_0, R_1): {said}" in compare(runs, "baseline").notes
    runs[3].outcome["phases"] = plan("S_0", "R_1", "R_2")
    told = "2 phases (S_0, R_1) with seed 0, 3 phases (S_0, R_1, R_2) with seed 1"
    assert f"reskd is trained in {told}: {said}" in compare(runs, "baseline").notes

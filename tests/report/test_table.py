from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence

import pytest
from run_folders import MakeRun
from scipy import stats

from cohobate.report.tables.comparison import Comparison, Entry, compare
from cohobate.report.tables.stats import Gain, Stat
from cohobate.report.tables.table import caption, row, to_csv, to_json, to_markdown, to_rich
from cohobate.runs.reading import Run


def runs_of(make_run: MakeRun, method: str, errors: dict[int, float], **settings: object) -> list[Run]:
    """One run a seed, with the given error at the last epoch."""
    return [
        make_run(f"{method}/{seed}", **{"method": method, "seed": seed, "last": e, **settings})
        for seed, e in errors.items()
    ]


def entry(comparison: Comparison, label: str) -> Entry:
    return next(e for e in comparison.entries if e.label == label)


def markdown_rows(text: str) -> list[dict[str, str]]:
    """A table as a Markdown reader sees it: cells are cut at bars that are not escaped."""
    cut = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line] for line in cut]
    assert all(len(cells) == len(head) for cells in rows)
    return [dict(zip(head, cells, strict=True)) for cells in rows]


def rich_text(comparison: Comparison, width: int) -> str:
    from rich.console import Console

    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(to_rich(comparison))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_numbers_worked_by_hand(make_run: MakeRun) -> None:
    base = runs_of(make_run, "base", {0: 10.0, 1: 11.0, 2: 12.0}, seconds=100.0)
    better = runs_of(make_run, "kd", {0: 9.0, 1: 9.0, 2: 9.0}, seconds=150.0, best=8.0)
    comparison = compare([*better, *base], "base")
    assert [e.label for e in comparison.entries] == ["base", "kd"]
    assert entry(comparison, "base").last == Stat(11.0, 1.0, 3)
    assert entry(comparison, "base").gain is None
    kd = entry(comparison, "kd")
    assert kd.last == Stat(9.0, 0.0, 3)
    assert kd.best == Stat(8.0, 0.0, 3)
    assert kd.train_ratio == Stat(1.5, 0.0, 3)
    # Differences 1, 2, 3: mean 2, deviation 1, standard error 1 / sqrt(3); t of 2 degrees 4.302653.
    assert kd.gain is not None
    assert (kd.gain.mean, kd.gain.pairs) == (2.0, 3)
    assert kd.gain.se == pytest.approx(1 / math.sqrt(3))
    assert kd.gain.interval == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))
    assert not kd.gain.is_clear
    assert row(comparison, kd)["gain"] == "+2.00 ± 0.58 [-0.48, +4.48]"
    assert row(comparison, kd)["test top-1 error, last epoch"] == "9.00 ± 0.00"
    assert row(comparison, kd)["time ratio"] == "1.50"


@pytest.mark.parametrize("errors", [(9.1, 9.4, 8.8, 9.9), (10.4, 11.2, 11.0, 10.9)])
def test_the_gain_agrees_with_scipy(make_run: MakeRun, errors: Sequence[float]) -> None:
    base = (10.1, 10.9, 10.2, 10.6)
    both = [
        *runs_of(make_run, "base", dict(enumerate(base))),
        *runs_of(make_run, "kd", dict(enumerate(errors))),
    ]
    gain = entry(compare(both, "base"), "kd").gain
    reference = stats.ttest_rel(base, errors)
    interval = reference.confidence_interval(0.95)
    assert gain is not None
    assert gain.se is not None
    assert gain.interval == pytest.approx((interval.low, interval.high))
    assert gain.mean / gain.se == pytest.approx(reference.statistic)
    assert gain.is_clear == (reference.pvalue < 0.05)


def test_only_seeds_that_both_have_are_paired(make_run: MakeRun) -> None:
    base = runs_of(make_run, "base", {0: 10.0, 1: 11.0, 2: 99.0}, seconds=100.0)
    other = runs_of(make_run, "kd", {0: 9.0, 1: 9.5, 7: 1.0}, seconds=200.0)
    comparison = compare([*base, *other], "base")
    kd = entry(comparison, "kd")
    assert kd.last.n == 3
    assert kd.gain is not None
    assert (kd.gain.mean, kd.gain.pairs) == (1.25, 2)
    assert kd.gain.interval == pytest.approx(stats.t.interval(0.95, 1, loc=1.25, scale=0.25))
    assert kd.train_ratio == Stat(2.0, 0.0, 2)
    assert row(comparison, kd)["gain"].endswith("(2 pairs)")
    assert "base has no finished run of seed 7." in comparison.notes
    assert "kd has no finished run of seed 2." in comparison.notes


def test_no_shared_seed_gives_no_gain(make_run: MakeRun) -> None:
    both = [*runs_of(make_run, "base", {0: 10.0}), *runs_of(make_run, "kd", {1: 9.0})]
    comparison = compare(both, "base")
    kd = entry(comparison, "kd")
    assert (kd.gain, kd.train_ratio) == (None, None)
    assert (row(comparison, kd)["gain"], row(comparison, kd)["time ratio"]) == ("—", "—")


def test_one_seed_has_no_uncertainty(make_run: MakeRun) -> None:
    comparison = compare([*runs_of(make_run, "base", {0: 10.0}), *runs_of(make_run, "kd", {0: 9.0})], "base")
    kd = entry(comparison, "kd")
    assert kd.last == Stat(9.0, None, 1)
    assert kd.gain == Gain(1.0, None, None, 1)
    cells = row(comparison, kd)
    assert (cells["test top-1 error, last epoch"], cells["gain"]) == ("9.00", "+1.00 (1 pair)")


def test_equal_differences_give_no_interval(make_run: MakeRun) -> None:
    both = [
        *runs_of(make_run, "base", {0: 10.1, 1: 10.3}),
        *runs_of(make_run, "kd", {0: 9.8, 1: 10.0}),
    ]
    gain = entry(compare(both, "base"), "kd").gain
    assert gain is not None
    assert (gain.se, gain.interval, gain.is_clear) == (0.0, None, False)


def test_without_a_test_split_it_is_the_validation_error(make_run: MakeRun) -> None:
    comparison = compare(runs_of(make_run, "base", {0: 10.0, 1: 11.0}, test=False), "base")
    assert comparison.split == "val"
    assert "val top-1 error, last epoch" in row(comparison, comparison.entries[0])
    assert "Top-1 error on the val split" in caption(comparison)
    assert any("no test split" in note for note in comparison.notes)
    assert "test top-1 error" not in to_markdown(comparison)


def test_without_a_validation_split_there_is_no_best_epoch(make_run: MakeRun) -> None:
    comparison = compare(runs_of(make_run, "base", {0: 10.0}, best=None), "base")
    assert comparison.entries[0].best is None
    assert not any("best" in heading for heading in row(comparison, comparison.entries[0]))
    assert json.loads(to_json(comparison))["entries"][0]["seeds"][0]["best"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "cifar100"}, r"differ in data: 'cifar10' \(.*base/0\), 'cifar100' \(.*kd/0\)"),
        ({"model": "resnet56"}, "differ in model: 'resnet20'"),
        ({"epochs": 9}, "differ in epochs: 4"),
        ({"config": {"batch_size": 64}}, "differ in batch size: 128"),
        ({"train_images": 100}, "differ in train images: 45000"),
        ({"test": False}, "differ in a test split: True"),
        ({"best": None}, "differ in a validation split: True"),
    ],
)
def test_runs_not_made_alike_are_refused(make_run: MakeRun, change: dict[str, object], message: str) -> None:
    both = [*runs_of(make_run, "base", {0: 10.0}), *runs_of(make_run, "kd", {0: 9.0}, **change)]
    with pytest.raises(ValueError, match=message):
        compare(both, "base")


def test_what_cannot_be_compared(make_run: MakeRun) -> None:
    base, unfinished = make_run("a"), make_run("b", finished=False)
    with pytest.raises(
        ValueError, match=r"no finished run is labelled 'kd', the baseline; labels: \['supervised'\]"
    ):
        compare([base], "kd")
    with pytest.raises(ValueError, match=r"no finished run .* labels: \[\]"):
        compare([unfinished], "supervised")
    with pytest.raises(ValueError, match=r"seed 0 of 'supervised' twice: .*/a and .*/c"):
        compare([base, make_run("c")], "supervised")
    with pytest.raises(
        ValueError, match=r"d/result\.json has no test top1_error of read-out 'absent'; .*: network, other"
    ):
        compare([make_run("d", predictor="absent")], "supervised")


def test_the_error_is_that_of_the_deployed_predictor(make_run: MakeRun) -> None:
    runs = [make_run("a", predictor="network"), make_run("b", method="other", predictor="other")]
    assert [e.last.mean for e in compare(runs, "supervised").entries] == [10.0, 99.0]


def test_what_differs_unasked_is_noted(make_run: MakeRun) -> None:
    runs = [
        make_run("a", seed=0),
        make_run("b", seed=1, provenance={"machine": "laptop"}, config={"lr": 0.05}),
        make_run("c", seed=2, finished=False),
    ]
    notes = compare(runs, "supervised").notes
    assert "Not the same in every run: machine (box, laptop)." in notes
    assert "Not the same in every run: lr (0.1, 0.05)." in notes
    unfinished = "Not finished, hence not in the table: supervised, seed 2, in "
    assert any(note.startswith(unfinished) and note.endswith("/c.") for note in notes)
    assert len(notes) == 3


def notes_on(make_run: MakeRun, *configs: dict[str, object], **settings: object) -> list[str]:
    """What is noted of runs with these configurations, one a method."""
    runs = [make_run(f"m{i}", method=f"m{i}", config=config, **settings) for i, config in enumerate(configs)]
    return [note for note in compare(runs, "m0").notes if note.startswith("Not the same")]


def test_every_option_that_changes_training_is_noted(make_run: MakeRun) -> None:
    notes = notes_on(make_run, {"cutout": 8, "init": "a.pth"}, {"cutout": 8, "compile": "off"})
    assert notes == [
        "Not the same in every run: init (a.pth, None).",
        "Not the same in every run: compile (auto, off).",
    ]


def test_an_option_of_later_was_at_its_default_before(make_run: MakeRun) -> None:
    assert notes_on(make_run, {}, {"cutout": 0, "milestones": [0.5, 0.75]}) == []


def test_bookkeeping_and_options_of_methods_are_not_noted(make_run: MakeRun) -> None:
    bookkeeping = {"workers": 7, "data_root": "elsewhere", "log_train": True, "keep_epochs": [1]}
    assert notes_on(make_run, {"temperature": 4.0}, {**bookkeeping, "temperature": 2.0}) == []


def test_options_about_teachers_are_compared_where_there_is_one(make_run: MakeRun) -> None:
    one, other = (
        {"teacher": ["resnet56"], "teacher_epochs": 5},
        {"teacher": ["wrn_16_2"], "teacher_epochs": 5},
    )
    assert notes_on(make_run, {}, one) == []
    runs = [make_run(f"t{i}", method=f"t{i}", config=config) for i, config in enumerate((one, other, {}))]
    assert compare(runs, "t0").notes == ("Not the same in every run: teacher (['resnet56'], ['wrn_16_2']).",)


def test_provenance_is_compared_too(make_run: MakeRun) -> None:
    runs = [
        make_run(f"{n}", method=f"m{n}", provenance={"started": f"{n}", "environment": {"threads": n}})
        for n in (1, 2)
    ]
    assert compare(runs, "m1").notes == ("Not the same in every run: threads (1, 2).",)


@pytest.fixture
def odd(make_run: MakeRun) -> Comparison:
    """Labels that would break a table that does not escape them."""
    runs = [
        *runs_of(make_run, "base", {0: 10.0, 1: 11.0}),
        *runs_of(make_run, "kd", {0: 9.0, 1: 9.1}, label='kd |x|, "<b>" *[red]*', options={"x": "|,\n"}),
    ]
    return compare(runs, "base")


def test_markdown_parses_back(odd: Comparison) -> None:
    main, readouts = to_markdown(odd).split("Every read-out")
    base, kd = markdown_rows(main)
    assert base["method"] == "base"
    assert kd["method"] == 'kd \\|x\\|, "&lt;b&gt;" \\*[red]\\*'
    assert kd["test top-1 error, last epoch"] == "9.05 ± 0.07"
    assert (kd["parameters trained"], kd["MACs"], kd["n"]) == ("0.27 M", "40.6 M", "2")
    assert [found["method"] for found in markdown_rows(readouts)] == [base["method"]] * 2 + [kd["method"]] * 2
    assert to_markdown(odd).startswith(
        "cifar10, resnet20, 4 epochs of batch size 128, seeds 0, 1, 45,000 training"
    )


def test_csv_parses_back_at_full_precision(odd: Comparison) -> None:
    base, kd = csv.DictReader(io.StringIO(to_csv(odd)))
    gain = entry(odd, kd["label"]).gain
    assert gain is not None
    assert gain.interval is not None
    assert (float(kd["gain_mean"]), float(kd["gain_se"])) == (gain.mean, gain.se)
    assert (float(kd["gain_low"]), float(kd["gain_high"])) == gain.interval
    assert json.loads(kd["options"]) == {"x": "|,\n"}
    assert kd["seeds"] == "0 1"
    assert (base["gain_mean"], base["gain_low"]) == ("", "")


def test_json_holds_every_seed(odd: Comparison) -> None:
    found = json.loads(to_json(odd))
    assert found["caption"] == caption(odd)
    seeds = found["entries"][1]["seeds"]
    assert [seed["seed"] for seed in seeds] == [0, 1]
    assert [seed["last"]["top1_error"] for seed in seeds] == [9.0, 9.1]
    assert [seed["best_epoch"] for seed in seeds] == [3, 3]


def test_the_terminal_table_fits_80_columns(make_run: MakeRun) -> None:
    runs = [
        *runs_of(make_run, "baseline", {0: 10.0, 1: 11.0}),
        *runs_of(make_run, "self_guidance", {0: 19.0, 1: 14.0}),
    ]
    text = rich_text(compare(runs, "baseline"), width=80)
    assert "…" not in text
    assert all(name in text for name in ("baseline", "self_guidance", "16.50 ± 3.54", "[-44.12, +32.12]"))
    assert "All methods: parameters trained 0.27 M, deployed 0.27 M, MACs 40.6 M." in text


def test_the_terminal_table_takes_labels_as_they_are(odd: Comparison) -> None:
    assert 'kd |x|, "<b>" *[red]*' in rich_text(odd, width=200)


def test_sizes_that_differ_have_columns(make_run: MakeRun) -> None:
    runs = [
        *runs_of(make_run, "base", {0: 10.0}),
        *runs_of(make_run, "kd", {0: 9.0}, parameters_trained=4_200_000, macs=4_100_000_000),
    ]
    comparison = compare(runs, "base")
    cells = row(comparison, entry(comparison, "kd"))
    assert (cells["parameters trained"], cells["deployed"], cells["MACs"]) == ("4.20 M", "0.27 M", "4.1 G")
    text = rich_text(comparison, width=200)
    assert "4.20 M" in text
    assert "All methods: deployed 0.27 M." in text

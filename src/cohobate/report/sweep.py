"""A method over the values of one of its options: table, figure, page.

Every error is that of the deployed predictor at the last epoch, in percent (a paper that draws top-1
accuracy draws 100 minus it). The validation error says which value is best; the test error stands beside
it, is what the figure shows, and chooses nothing.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

from .comparison import Stat, listed
from .markup import Html, document, join, tag, wide_table
from .page import figure, origin, section
from .plots import INK, PALETTE, Chart, our_style
from .runs import Run
from .table import NOTHING, cells, error, marked

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 20
"""Positive values that span a larger factor stand on a logarithmic axis."""

CURVE, GREEN, OTHERS = PALETTE[0], PALETTE[2], (PALETTE[1], *PALETTE[3:])
TICK_ROOM = 4.9  # inches that the horizontal axis is long, about
CHARACTER, GAP = 0.085, 0.12  # inches, of a tick's label


@dataclass(frozen=True)
class Trial:
    """One run.

    Attributes:
        epoch: the last one; None if the run diverged, as are both errors.
        val: top-1 error of the deployed predictor, percent; None without a validation split.
        test: the same on the test split.
        diverged: what was said when a loss was no longer a number.
    """

    seed: int
    folder: str
    epoch: int | None
    val: float | None
    test: float | None
    diverged: str | None = None

    @classmethod
    def of(cls, run: Run, diverged: str | None = None) -> Trial:
        """What a finished run measured, or that it diverged."""
        if diverged is not None:
            return cls(int(run.config["seed"]), str(run.folder), None, None, None, diverged)
        last = run.outcome["last"]
        errors = ((last[split] or {}).get(run.predictor, {}).get("top1_error") for split in ("val", "test"))
        return cls(run.outcome["seed"], str(run.folder), last["epoch"], *errors)


@dataclass(frozen=True)
class Row:
    """A value of the option, or a method beside, over the seeds.

    Attributes:
        name: the value as it is written, or the method's label.
        value: None for a method beside.
    """

    name: str
    value: Any
    trials: tuple[Trial, ...]

    def errors(self, split: str) -> list[float]:
        """Of the runs that came to their end."""
        found = (trial.val if split == "val" else trial.test for trial in self.trials)
        return [value for value in found if value is not None]

    def stat(self, split: str) -> Stat | None:
        errors = self.errors(split)
        return Stat.of(errors) if errors else None

    @property
    def diverged(self) -> int:
        """How many runs did."""
        return sum(trial.diverged is not None for trial in self.trials)


@dataclass(frozen=True)
class Sweep:
    """A method over the values of one option.

    Attributes:
        label: the method, with its other options that are not the default ones.
        about: what the option is.
        rows: numbers ascending, words as they were given.
        beside: methods trained alike, without the option.
        marked: name of the value that is marked, and why: "marked" or "default".
        split: whose error the figure shows: "test", or "val" where the data have no test split.
        best: names of the values of lowest mean validation error; none without a validation split. Values
            at which a run diverged do not count.
        settings: what all runs share: data, model, epochs, batch size ...
        notes: what a reader must know to read the numbers right.
    """

    label: str
    option: str
    about: str
    rows: tuple[Row, ...]
    beside: tuple[Row, ...]
    marked: tuple[str, str] | None
    split: str
    best: tuple[str, ...]
    settings: Mapping[str, Any]
    notes: tuple[str, ...]


def shown(value: Any) -> str:
    """A value as one writes it: 5e-8, 0.25, none, sgd."""
    if value is None:
        return "none"
    if isinstance(value, float):
        return re.sub(r"e([+-]?)0*(\d)", lambda m: f"e{m[1].strip('+')}{m[2]}", f"{value:.12g}")
    return str(value)


def is_number(value: Any) -> bool:
    """Whether a value has a place on a numeric axis; a boolean has none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def gather(
    label: str,
    option: str,
    values: Mapping[Any, Sequence[Trial]],
    beside: Mapping[str, Sequence[Trial]],
    runs: Sequence[Run],
    *,
    about: str = "",
    mark: tuple[Any, str] | None = None,
    notes: Iterable[str] = (),
) -> Sweep:
    """Runs as a sweep.

    Args:
        label: of the method, without the option.
        option: its name.
        values: value -> a trial a seed.
        beside: label -> a trial a seed.
        runs: all of them; what the finished ones share is said.
        about: what the option is.
        mark: the value to mark, and why.
        notes: to be added.
    """
    order = sorted(values) if all(map(is_number, values)) else list(values)
    rows = tuple(Row(shown(value), value, tuple(values[value])) for value in order)
    others = tuple(Row(name, None, tuple(trials)) for name, trials in beside.items())
    trials = [trial for row in (*rows, *others) for trial in row.trials]
    finished = [trial for trial in trials if trial.diverged is None]
    split = "test" if all(trial.test is not None for trial in finished) else "val"
    return Sweep(
        label=label,
        option=option,
        about=about,
        rows=rows,
        beside=others,
        marked=None if mark is None else (shown(mark[0]), mark[1]),
        split=split,
        best=_best(rows),
        settings=_shared(runs),
        notes=(*_notes(option, rows, others, split), *notes),
    )


def _shared(runs: Sequence[Run]) -> dict[str, Any]:
    """What the caption can say of all runs at once."""
    facts = [{**run.config, **run.result} for run in runs if run.result is not None]
    keys = ("data", "model", "epochs", "batch_size", "train_images")
    found = {key: {fact.get(key) for fact in facts} for key in keys}
    return {key: values.pop() for key, values in found.items() if len(values) == 1}


def _best(rows: Sequence[Row]) -> tuple[str, ...]:
    sure = {row.name: row.stat("val") for row in rows if not row.diverged}
    means = {name: stat.mean for name, stat in sure.items() if stat is not None}
    return tuple(name for name, mean in means.items() if mean == min(means.values()))


def _notes(option: str, rows: Sequence[Row], beside: Sequence[Row], split: str) -> list[str]:
    said = []
    if not any(row.errors("val") for row in rows):
        said.append("There is no validation split, so nothing here may choose a value.")
    elif split == "test":
        said.append("Choose by the validation error: the test error chooses nothing.")
    else:
        said.append("There is no test split: the lowest error is on the images that chose it.")
    for row in (*rows, *beside):
        name = f"{option}={row.name}" if row in rows else row.name
        for trial in row.trials:
            if trial.diverged is not None:
                said.append(f"{name}, seed {trial.seed}, diverged: {trial.diverged.partition(';')[0]}.")
    return said


# ---------------------------------------------------------------- table


def caption(sweep: Sweep) -> str:
    """What the numbers are, for a reader who sees nothing but the table."""
    seeds = listed({trial.seed for row in sweep.rows for trial in row.trials})
    parts: dict[str, Callable[[Any], str]] = {
        "data": str,
        "model": str,
        "epochs": lambda n: f"{n} epochs",
        "batch_size": lambda n: f"batch size {n}",
        "train_images": lambda n: f"{n:,} training images",
    }
    alike = [words(sweep.settings[key]) for key, words in parts.items() if key in sweep.settings]
    about = f" ({sweep.about.strip().rstrip('.')})" if sweep.about else ""
    return (
        f"{sweep.label} over {sweep.option}{about}; {', '.join([*alike, f'seeds {seeds}'])}. "
        "Top-1 error at the last epoch, percent, mean ± sample standard deviation over n seeds."
    )


def table_rows(sweep: Sweep) -> list[dict[str, str]]:
    """Heading -> text, of every value and then of every method beside."""
    splits = [s for s in ("val", "test") if any(row.errors(s) for row in (*sweep.rows, *sweep.beside))]
    return [
        {
            sweep.option: row.name,
            "n": str(len(row.trials) - row.diverged),
            **{f"{split} error": _error(row, split) for split in splits},
            "note": _remark(sweep, row),
        }
        for row in (*sweep.rows, *sweep.beside)
    ]


def _error(row: Row, split: str) -> str:
    stat = row.stat(split)
    return NOTHING if stat is None else error(stat)


def _remark(sweep: Sweep, row: Row) -> str:
    said = []
    if row in sweep.rows:
        if row.name in sweep.best:
            said.append("lowest val error")
        if sweep.marked is not None and row.name == sweep.marked[0]:
            said.append(sweep.marked[1])
    else:
        said.append("beside")
    if row.diverged:
        said.append("diverged" if row.diverged == len(row.trials) else f"{row.diverged} diverged")
    return ", ".join(said)


def to_markdown(sweep: Sweep) -> str:
    """The table, its caption, its notes."""
    rows = table_rows(sweep)
    lines = [cells(list(rows[0])), cells(["---", *["---:"] * (len(rows[0]) - 2), "---"])]
    lines += [cells([marked(text) for text in row.values()]) for row in rows]
    notes = [f"- {marked(note)}" for note in sweep.notes]
    return "\n".join([marked(caption(sweep)), "", *lines, "", *notes, ""])


def to_csv(sweep: Sweep) -> str:
    """One line a run, full precision; an empty cell is a number that there is not."""
    out = io.StringIO()
    head = ["option", "value", "method", "seed", "epoch", "val_error", "test_error", "diverged", "folder"]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for row in (*sweep.rows, *sweep.beside):
        swept = row in sweep.rows
        what = [sweep.option, row.name, sweep.label] if swept else [None, None, row.name]
        for t in row.trials:
            writer.writerow([*what, t.seed, t.epoch, t.val, t.test, t.diverged, t.folder])
    return out.getvalue()


def to_json(sweep: Sweep) -> str:
    """Everything, every run too."""
    whole = {"caption": caption(sweep), **asdict(sweep)}
    for row, source in zip((*whole["rows"], *whole["beside"]), (*sweep.rows, *sweep.beside), strict=True):
        for split in ("val", "test"):
            stat = source.stat(split)
            row[f"{split}_error"] = None if stat is None else asdict(stat)
    return json.dumps(whole, indent=2, ensure_ascii=False, default=str) + "\n"


def to_rich(sweep: Sweep) -> Table:
    """The table for a terminal of 80 columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = table_rows(sweep)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, collapse_padding=True, caption_justify="left")
    table.caption = Text("\n" + "\n".join([caption(sweep), *sweep.notes]))
    for i, heading in enumerate(rows[0]):
        table.add_column(heading, justify="left" if heading == "note" or i == 0 else "right")
    for number, row in enumerate(rows, 1):
        table.add_row(*map(Text, row.values()), end_section=number == len(sweep.rows))
    return table


# ---------------------------------------------------------------- figure


def places(values: Sequence[Any]) -> tuple[str, list[float]]:
    """The kind of horizontal axis and where each value stands on it.

    "log" where all are numbers, none is negative, and the positive ones span more than a factor of
    :data:`WIDE`: a zero then stands apart, one step left of the smallest; "linear" for other numbers;
    "words" one after the other for the rest.
    """
    if not all(map(is_number, values)):
        return "words", [float(i) for i in range(len(values))]
    positive = [value for value in values if value > 0]
    if min(values) < 0 or not positive or max(positive) <= WIDE * min(positive):
        return "linear", [float(value) for value in values]
    logs = sorted({math.log10(value) for value in positive})
    step = (logs[-1] - logs[0]) / max(1, len(logs) - 1)
    return "log", [math.log10(value) if value > 0 else logs[0] - step for value in values]


def draw(sweep: Sweep) -> str:
    """The error over the option, as SVG.

    Mean over the seeds, bars of one sample standard deviation, a faint point a run; dashed lines for the
    methods beside; a green dot for the marked value; a cross at the upper edge where a run diverged.
    """
    kind, xs = places([row.value for row in sweep.rows])
    with our_style(f"sweep {sweep.label} {sweep.option}"):
        chart = Chart(f"{sweep.split} error, percent")
        _horizontal(chart, sweep, kind, xs)
        _curve(chart, sweep, kind, xs)
        for row, colour in zip(sweep.beside, cycle(OTHERS), strict=False):
            _beside(chart, sweep, row, colour)
        _mark(chart, sweep, xs)
        _crosses(chart, sweep, xs)
        if not any(row.errors(sweep.split) for row in (*sweep.rows, *sweep.beside)):
            chart.axes.set_yticks([])
        return chart.svg(f"Top-1 error of {sweep.label} over {sweep.option}")


def _horizontal(chart: Chart, sweep: Sweep, kind: str, xs: Sequence[float]) -> None:
    axes = chart.axes
    axes.set_xlabel(f"{sweep.option}, logarithmic" if kind == "log" else sweep.option)
    span = max(xs) - min(xs) or 1.0
    margin = 0.06 if kind != "words" else 0.5 / len(xs)
    axes.set_xlim(min(xs) - margin * span, max(xs) + margin * span)
    names = [row.name for row in sweep.rows]
    first = None if sweep.marked is None else sweep.marked[0]
    lines = _lines(names, xs, span * (1 + 2 * margin), first)
    below = {0: "", 1: "\n"}
    axes.set_xticks(xs, [below[n] + name if n in below else "" for name, n in zip(names, lines, strict=True)])
    for text in axes.get_xticklabels():
        text.set_parse_math(False)


def _lines(names: Sequence[str], xs: Sequence[float], width: float, first: str | None) -> list[int | None]:
    """The line below the axis on which each label has room, 0 or 1; None: it has none on either.

    The marked one comes first, then both ends, then the rest from left to right.
    """
    inch = TICK_ROOM / width
    half = [len(name) * CHARACTER / 2 for name in names]
    taken: dict[int, int] = {}
    ends = (0, len(xs) - 1)
    for i in sorted(range(len(xs)), key=lambda i: (names[i] != first, i not in ends, i)):
        for line in (0, 1):
            near = [j for j, other in taken.items() if other == line]
            if all(abs(xs[i] - xs[j]) * inch >= half[i] + half[j] + GAP for j in near):
                taken[i] = line
                break
    return [taken.get(i) for i in range(len(xs))]


def _curve(chart: Chart, sweep: Sweep, kind: str, xs: Sequence[float]) -> None:
    stats = {x: row.stat(sweep.split) for x, row in zip(xs, sweep.rows, strict=True)}
    known = {x: stat for x, stat in stats.items() if stat is not None}
    if not known:
        return
    zero = kind == "log" and sweep.rows[0].value == 0
    alone = [x for x in known if zero and x == xs[0]]
    joined = [x for x in xs if x not in alone]
    means = [known[x].mean if x in known else math.nan for x in joined]  # NaN is a gap: nothing came of it
    style: dict[str, Any] = {"color": CURVE, "linewidth": 1.9, "marker": "o", "markersize": 5, "zorder": 3}
    dashes = "" if kind == "words" else "-"
    (line,) = chart.axes.plot(joined, means, linestyle=dashes, **style)
    chart.axes.plot(alone, [known[x].mean for x in alone], **style)
    spread = {x: stat for x, stat in known.items() if stat.std is not None}
    middles = [stat.mean for stat in spread.values()]
    bars = [stat.std or 0.0 for stat in spread.values()]
    caps: dict[str, Any] = {"fmt": "none", "capsize": 3, "ecolor": CURVE, "elinewidth": 1.1}
    chart.axes.errorbar(list(spread), middles, yerr=bars, **caps)
    for x, row in zip(xs, sweep.rows, strict=True):
        errors = row.errors(sweep.split)
        if len(errors) > 1:
            chart.axes.plot([x] * len(errors), errors, "o", color=CURVE, alpha=0.3, markersize=3.5, mew=0)
    if zero:
        chart.axes.axvline((xs[0] + xs[1]) / 2, color=INK, linewidth=0.7, linestyle=":")
    most = max(stat.n for stat in known.values())
    name = f"{sweep.label}, mean of {most} ± std" if most > 1 else sweep.label
    chart.legend.append((name, line))


def _beside(chart: Chart, sweep: Sweep, row: Row, colour: str) -> None:
    stat = row.stat(sweep.split)
    if stat is None:
        return
    line = chart.axes.axhline(stat.mean, color=colour, linestyle="--", linewidth=1.5, zorder=1)
    chart.legend.append((f"{row.name}, mean of {stat.n}" if stat.n > 1 else row.name, line))


def _mark(chart: Chart, sweep: Sweep, xs: Sequence[float]) -> None:
    for x, row in zip(xs, sweep.rows, strict=True):
        stat = row.stat(sweep.split)
        if sweep.marked is not None and row.name == sweep.marked[0] and stat is not None:
            (dot,) = chart.axes.plot([x], [stat.mean], "o", color=GREEN, markersize=9, zorder=4)
            chart.legend.append((f"{sweep.option} {row.name}, {sweep.marked[1]}", dot))


def _crosses(chart: Chart, sweep: Sweep, xs: Sequence[float]) -> None:
    where = [x for x, row in zip(xs, sweep.rows, strict=True) if row.diverged]
    if where:
        upper = chart.axes.get_xaxis_transform()
        style: dict[str, Any] = {"color": INK, "markersize": 8, "mew": 1.8, "clip_on": False}
        (cross,) = chart.axes.plot(where, [1.0] * len(where), "x", transform=upper, **style)
        chart.legend.append(("diverged", cross))


# ---------------------------------------------------------------- what is left on disk


def page(sweep: Sweep, runs: Sequence[Run]) -> str:
    """The figure, the table, and how it was made."""
    rows = table_rows(sweep)
    count = f"{len(sweep.rows)} value{'s' * (len(sweep.rows) != 1)} of {sweep.option}"
    where = [str(sweep.settings[key]) for key in ("model", "data") if key in sweep.settings]
    words = "Bars: one sample standard deviation. Faint: a run. Dashed: a method beside."
    return document(
        f"{sweep.label} over {sweep.option}",
        f"{count}, {' on '.join(where)}" if where else count,
        section("Figure", tag("div", figure(draw(sweep), words), style="max-width: 44rem")),
        section("Results", _results(sweep, rows)),
        section("How it was made", *origin(runs)),
    )


def _results(sweep: Sweep, rows: Sequence[Mapping[str, str]]) -> Html:
    return join(
        tag("p", caption(sweep), cls="caption"),
        wide_table(rows[0], [list(row.values()) for row in rows]),
        tag("ul", *(tag("li", note) for note in sweep.notes), cls="notes"),
    )


def sweep_files(sweep: Sweep, runs: Sequence[Run]) -> dict[str, str]:
    """sweep.svg, sweep.json, sweep.csv, sweep.md, index.html."""
    return {
        "sweep.svg": draw(sweep),
        "sweep.json": to_json(sweep),
        "sweep.csv": to_csv(sweep),
        "sweep.md": to_markdown(sweep),
        "index.html": page(sweep, runs),
    }

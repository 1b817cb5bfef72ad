"""One self-contained HTML page for a comparison, one for a run: no script, nothing fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..runs.reading import SPLITS, Run
from .figures import peers, plots, slkd
from .markup import Html, document, join, tag, wide_table
from .tables import table
from .tables.comparison import Comparison, Entry

LATER_SHARE = 0.5
METRIC_NAMES = {
    "top1_error": "top-1 error, %",
    "top5_error": "top-5 error, %",
    "nll": "NLL",
    "ece": "ECE, %",
}


def comparison_page(comparison: Comparison, runs: Sequence[Run]) -> str:
    """The table, the curves, every seed, and how it was made.

    Args:
        comparison: of the finished ones among the runs.
        runs: unfinished ones too: they show in the curves only.
    """
    c = comparison
    order = [entry.label for entry in c.entries]
    runs = sorted(runs, key=lambda run: order.index(run.name) if run.result else len(order))
    colours = plots.colours(runs)
    return document(
        f"{c.model} on {c.data}",
        f"{_count(len(order), 'method')}, {c.epochs} epochs, measured against {c.baseline}",
        section("Results", _results(c, colours)),
        *_readouts(c, colours),
        section("Curves", _comparison_curves(c, runs)),
        section("Every seed", _seeds(c, colours)),
        section("How it was made", *origin(runs)),
    )


def run_page(run: Run) -> str:
    """Metrics, curves, configuration and provenance of one run, finished or not."""
    config = run.config if run.result is None else run.result
    return document(
        run.name,
        f"{config.get('model', 'unknown model')} on {config.get('data', 'unknown data')}, {_progress(run)}",
        section("Metrics", *_run_metrics(run)),
        section("Curves", _run_curves(run)),
        section("How it was made", *origin([run])),
    )


def _results(comparison: Comparison, colours: Mapping[str, str]) -> Html:
    rows = [_result_row(comparison, entry, colours) for entry in comparison.entries]
    notes = [*_fine_print(comparison), *comparison.notes]
    return join(
        tag("p", table.caption(comparison), cls="caption"),
        wide_table(table.row(comparison, comparison.entries[0]), rows),
        tag("ul", *(tag("li", note) for note in notes), cls="notes"),
    )


def _readouts(comparison: Comparison, colours: Mapping[str, str]) -> list[Html]:
    found = table.readout_rows(comparison)
    if not found:
        return []
    rows = [list((row | {"method": _keyed(row["method"], colours)}).values()) for row in found]
    caption = tag("p", table.readout_caption(comparison), cls="caption")
    return [section("Every read-out", caption, wide_table(found[0], rows))]


def _result_row(comparison: Comparison, entry: Entry, colours: Mapping[str, str]) -> list[str]:
    row = table.row(comparison, entry)
    row["method"] = _keyed(entry.label, colours)
    if entry.gain is not None and entry.gain.is_clear:
        row["gain"] = tag("mark", row["gain"], cls="better" if entry.gain.mean > 0 else "worse")
    return list(row.values())


def _fine_print(comparison: Comparison) -> list[str]:
    gains = [entry.gain for entry in comparison.entries if entry.gain is not None]
    lines = ["The interval speaks of the spread over seeds, not of the choice of test images."]
    if any(gain.is_clear for gain in gains):
        lines.append("A gain is shaded where its own 95 % interval excludes 0.")
    if len(gains) > 1:
        lines.append(f"The intervals are not corrected for there being {len(gains)} comparisons.")
    if any(gain.interval is None for gain in gains):
        lines.append("Where no interval is printed, the seeds are too few, or too alike, to give one.")
    return lines


def _comparison_curves(comparison: Comparison, runs: Sequence[Run]) -> Html:
    figures = []
    for split in SPLITS:
        if any(run.curve(split, run.predictor) for run in runs if run.predictor):
            figures.append(figure(plots.error_curves(runs, split), f"{split} error"))
            later = plots.error_curves(runs, split, since=LATER_SHARE)
            figures.append(figure(later, f"{split} error, the second half enlarged"))
    for split in peers.splits_of_peers(runs):
        caption = f"{split} agreement s of the peers: smaller is more diverse"
        figures.append(figure(peers.agreement_curves(runs, split), caption))
    if not figures:
        return tag("p", "No run has logged an error over its epochs.")
    words = (
        "Thin: a seed. Bold: the mean over seeds, as far as all of them have come. "
        "Errors are those of the deployed predictor, in the last phase of a plan."
    )
    return join(tag("p", words, cls="caption"), tag("div", *figures, cls="figures"))


def _seeds(comparison: Comparison, colours: Mapping[str, str]) -> Html:
    seeds = [(entry, seed) for entry in comparison.entries for seed in entry.seeds]
    metrics = list(dict.fromkeys(key for _, seed in seeds for key in seed.last))
    best = ["best epoch", "top-1 error there, %"] if comparison.has_best else []
    head = ["method", "seed", "last epoch", *map(_metric_name, metrics), *best, "train time"]
    rows = []
    for entry, seed in seeds:
        found = [] if seed.best is None else [str(seed.best_epoch), _number(seed.best.get("top1_error"))]
        last = [_number(seed.last.get(key)) for key in metrics]
        time = table.duration(seed.train_seconds)
        rows.append([_keyed(entry.label, colours), str(seed.seed), str(seed.last_epoch), *last, *found, time])
    return join(tag("p", f"Measured on the {comparison.split} split.", cls="caption"), wide_table(head, rows))


def _run_metrics(run: Run) -> list[Html]:
    if run.result is None:
        return [tag("p", f"This run has not finished: {_progress(run)}.")]
    result = run.result
    tiles = {
        "parameters trained": f"{result['parameters_trained']:,}",
        "parameters deployed": f"{result['parameters_deployed']:,}",
        "MACs": f"{result['macs']:,}",
        "training images": f"{result['train_images']:,}",
        "train time": table.duration(result["train_seconds"]),
    }
    measured = [
        (f"{split}, {name} epoch ({result[name]['epoch']}), {predictor}", metrics)
        for name in ("last", "best")
        for split in SPLITS
        for predictor, metrics in ((result[name] or {}).get(split) or {}).items()
    ]
    scalars = [
        key for _, metrics in measured for key, value in metrics.items() if not isinstance(value, list)
    ]
    names = list(dict.fromkeys(scalars))
    rows = [[where, *(_number(metrics.get(key)) for key in names)] for where, metrics in measured]
    head = ["split, epoch, predictor", *map(_metric_name, names)]
    deployed = f"Deployed: {result['predictor']}."
    if result["best"]:
        deployed += " The best epoch is the one of lowest top-1 error on the validation split."
    return [_tiles(tiles), wide_table(head, rows), tag("p", deployed, cls="caption")]


def _run_curves(run: Run) -> Html:
    figures = []
    if run.predictors():
        figures.append(figure(plots.run_error_curves(run), "Top-1 error, last phase"))
    if any(line.get("losses") for line in run.metrics):
        figures.append(figure(plots.loss_curves(run), "Loss terms, weighted as they are optimised"))
    figures += [figure(svg, caption) for svg, caption in (*slkd.figures(run), *peers.figures(run))]
    if not figures:
        return tag("p", "Nothing is logged yet.")
    return tag("div", *figures, cls="figures")


def _progress(run: Run) -> str:
    if not run.metrics:
        return "no epoch is over yet"
    line = run.metrics[-1]
    phase = f" of phase {line['phase']}" if len(run.phases) > 1 else ""
    return f"{line['epoch']} epochs{phase}, seed {run.config.get('seed', 'unknown')}"


def origin(runs: Sequence[Run]) -> list[Html]:
    """Commands, configuration and provenance: what all runs share apart from what sets them apart."""
    commands = dict.fromkeys(str(run.provenance["command"]) for run in runs if run.provenance.get("command"))
    names = ["/".join(run.folder.parts[-2:]) for run in runs]
    provenance = [{k: v for k, v in run.provenance.items() if k != "command"} for run in runs]
    return [
        *(tag("pre", tag("code", command)) for command in commands),
        *_settings("Configuration", names, [run.config for run in runs]),
        *_settings("Provenance", names, provenance),
    ]


def _settings(title: str, names: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> list[Html]:
    keys = list(dict.fromkeys(key for setting in settings for key in setting))
    values = {key: [_value(setting, key) for setting in settings] for key in keys}
    shared = {key: found[0] for key, found in values.items() if len(set(found)) == 1}
    apart = [key for key in keys if key not in shared]
    parts = [tag("h3", title)]
    if not keys:
        parts.append(tag("p", "Not recorded."))
    if shared:
        parts.append(tag("dl", *(_pair(key, value) for key, value in shared.items())))
    if apart:
        rows = [[name, *(values[key][i] for key in apart)] for i, name in enumerate(names)]
        parts.append(wide_table(["run", *apart], rows))
    return parts


def _value(setting: Mapping[str, Any], key: str) -> str:
    if key not in setting:
        return table.NOTHING
    value = setting[key]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _metric_name(key: str) -> str:
    return METRIC_NAMES.get(key, key)


def _number(value: float | None) -> str:
    if value is None:
        return table.NOTHING
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def _keyed(label: str, colours: Mapping[str, str]) -> Html:
    """A label with the colour that its curves have; what follows the method's name goes below it."""
    dot = tag("span", "", cls="key", style=f"background:{colours.get(label, 'none')}")
    method, _, options = label.partition(" ")
    name = tag("span", dot, method, cls="method")
    return join(name, " ", tag("span", options, cls="options")) if options else name


def section(title: str, *children: str) -> Html:
    """A part of a page below its heading."""
    return tag("section", tag("h2", title), *children)


def figure(svg: str, title: str) -> Html:
    """A drawing and what it is."""
    return tag("figure", Html(svg), tag("figcaption", title))


def _pair(key: str, value: str) -> Html:
    return tag("div", tag("dt", key), tag("dd", value))


def _tiles(values: Mapping[str, str]) -> Html:
    return tag("dl", *(_pair(key, value) for key, value in values.items()), cls="tiles")

"""The model card of an export: what the network is, what it was measured on, and how it is used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..config.forms import Form
from ..config.words import count
from ..runs.exported import About, ExportFolder
from ..runs.finding import made_from_python
from ..runs.reading import Run
from ..runs.siblings import Beside
from . import snippets
from .card_words import INT8, IS, STAGE, TAKES, class_rows
from .facts import (
    Explained,
    cost_rows,
    integers_line,
    option_rows,
    provenance_facts,
    training_facts,
)
from .fits import fitted
from .identity import other_run, same_training
from .markdown import Markdown, block, code, front_matter, item, render, table
from .tables import adaptive as adaptive_table
from .tables.seeds import FIRST, Measured, error_notes, error_rows
from .tables.text import heading, known_columns
from .tables.told import given_teachers, run_lines

OPEN, MOST = 20, 1000
"""Classes that are listed openly, and at all."""

NAMES = ExportFolder(Path())
CONFIG, RUNNER, CASCADE = NAMES.config.name, NAMES.runner.name, NAMES.cascade.name
"""With which timm builds the network; what runs a cascade, and what it reads."""
INTEGERS = NAMES.int8.name
LEFT = ("file", "what it is", "takes", "weights", "checked")
"""Columns of text."""


class File(NamedTuple):
    """A file of the export.

    Attributes:
        name: of the file, in its folder.
        size: in bytes.
        about: what it says of itself; None if it says nothing.
        said: what its check found, or why nothing is known of it.
    """

    name: str
    size: int
    about: About | None
    said: str


class Subject(NamedTuple):
    """What a card is about.

    Attributes:
        run: a finished one, reported by the read-out that is exported.
        about: of the network that is exported now.
        files: all that lie in the folder.
        seeds: the run, and those of other seeds.
        baseline: runs of the baseline that were trained the same way.
        method: in words.
        commands: that exported the files, the last one now, and the language of each: sh or python.
        larger: how much larger than its central crop a picture is made, if it is cropped.
    """

    run: Run
    about: About
    files: Sequence[File]
    seeds: Beside
    baseline: Beside
    method: Explained
    commands: Sequence[tuple[str, str]]
    larger: float


def card(of: Subject) -> str:
    """The card, Markdown, with a digest by which a later export knows that nobody has changed it."""
    about, outcome = of.about, of.run.outcome
    measured = Measured(of.run, of.seeds, of.baseline)
    text = render(
        "card.md.j2",
        front=_front(of),
        about=about,
        run=of.run,
        outcome=outcome,
        method=of.method,
        title=", ".join(dict.fromkeys([f"{outcome['model']} on {about.data}", about.label])),
        from_python=made_from_python(of.run.method),
        network=Markdown(" + ".join(map(code, about.members or filter(None, [about.model])))),
        size=" x ".join(map(str, about.shape[1:])),
        parameters=f"{about.parameters:,}",
        classes=count(len(about.classes), "class"),
        fit=fitted(about),
        own_code=snippets.names_code(about) and "model.safetensors" in {file.name for file in of.files},
        files=table([_file_row(of, file) for file in of.files], LEFT),
        uses=_uses(of),
        reading=block(snippets.reading(about, of.larger), "python"),
        masks=about.task == "segmentation",
        metric=heading(of.run.headline),
        each_class=_each_class(of),
        errors=table(error_rows(measured), (FIRST,)),
        notes=error_notes(measured),
        measures=_measures(of),
        training=training_facts(of.run, about),
        told=[*run_lines(outcome, of.run.headline), *given_teachers(of.run)],
        options=_options(of),
        made=provenance_facts(of.run),
        trained_by=_command(of.run.provenance.get("command")),
        exported_by=[block(*command) for command in of.commands],
        cost=table(cost_rows(of.run, about), ("what",)),
        listed=_classes(about.classes),
        folded=len(about.classes) > OPEN,
        train_images=of.run.config.get("train_images"),
        integers=[
            integers_line(file.name, file.about.int8)
            for file in of.files
            if file.about is not None and file.about.int8 is not None and _is_of_run(of, file.about)
        ],
        **_cascade(of),
    )
    return signed(text)


# ---------------------------------------------------------------- whose it is

SIGNED = re.compile(r"\n<!-- card of cohobate, ([0-9a-f]{16}) -->\n\Z")


def signed(text: str) -> str:
    """The text, and a line with its digest."""
    return f"{text.rstrip()}\n\n<!-- card of cohobate, {_digest(text)} -->\n"


def is_untouched(text: str) -> bool:
    """Whether a file is a card that nobody has changed since it was written."""
    found = SIGNED.search(text)
    return found is not None and found[1] == _digest(text[: found.start()])


def _digest(text: str) -> str:
    return hashlib.blake2b(text.strip().encode(), digest_size=8).hexdigest()


# ---------------------------------------------------------------- parts


def _front(of: Subject) -> Markdown:
    names = {file.name for file in of.files}
    kinds = {name.rpartition(".")[2] for name in names} & {"onnx", "safetensors"}
    # A folder that timm loads by itself is known by its name on a hub.
    library = "timm" if _is_of_timm(of) else "cohobate"
    does = f"image-{of.about.task}"  # a hub's name of it
    tags = [does, "knowledge-distillation", *sorted({library, "cohobate"}), *sorted(kinds)]
    return front_matter({"library_name": library, "pipeline_tag": does, "tags": tags})


def _is_of_timm(of: Subject) -> bool:
    return CONFIG in {file.name for file in of.files} and str(of.about.model).startswith("timm:")


def _file_row(of: Subject, file: File) -> dict[str, str]:
    about, ending = file.about, file.name[file.name.rfind(".") :]
    row = {"file": file.name, "what it is": _what(file.name, ending), "takes": "", "weights": ""}
    if not row["what it is"]:
        return {**row, "what it is": file.said, "size": _size(file), "checked": ""}
    if about is not None:
        row["takes"] = TAKES["normalised" if ending == ".safetensors" else about.values]
        row["weights"] = _weights(of, about)
        if ending == ".safetensors":
            row["what it is"] = _weights_alone(about)
    return {**row, "size": _size(file), "checked": file.said}


def _size(file: File) -> str:
    return f"{file.size / 2**20:.2f} MiB"


def _what(name: str, ending: str) -> str:
    if name == INTEGERS:
        return INT8
    if name == CASCADE:
        return "the threshold of the cascade, its classes, and the digests of its networks"
    return STAGE if name.startswith("stage-") else IS.get(ending, "")


def _weights_alone(about: About) -> str:
    if not _has_name(about):
        return "weights alone, for cohobate.load_weights and a network that has them"
    library = str(about.model).partition(":")[0]
    keys = f", with the keys of {library}" if library in ("timm", "torchvision") else ""
    return f"weights alone, for cohobate.load{keys}"


def _weights(of: Subject, about: About) -> str:
    when = f"{about.weights} epoch" + ("" if about.epoch is None else f" ({about.epoch:g})")
    if not _is_of_run(of, about):
        whose = "of another run" if other_run(of.about, about) else "not known to be of this training"
        return f"{whose}: {about.label} on {about.data}, seed {about.seed}, {when}"
    readout = "" if about.readout == of.run.predictor else f", read-out {about.readout}"
    return when + readout


def _is_of_run(of: Subject, about: About) -> bool:
    return same_training(of.run, of.about, about)


def _uses(of: Subject) -> list[tuple[str, Markdown]]:
    """Name and code of each file that is the whole network of this run."""
    uses = []
    if RUNNER in {file.name for file in of.files}:
        uses.append((RUNNER, block(snippets.cascade(of.about), "python")))
    if _is_of_timm(of):
        uses.append((CONFIG, block(snippets.timm(of.about), "python")))
    for file in of.files:
        stem, _, form = file.name.rpartition(".")
        if file.about is None or not stem.startswith("model") or form not in snippets.USES:
            continue
        if _is_of_run(of, file.about) and (form != "safetensors" or _has_name(file.about)):
            kind: Form = form  # type: ignore[assignment]
            uses.append((file.name, block(snippets.use(kind, file.about, file.name), "python")))
    return uses


def _has_name(about: About) -> bool:
    """Whether the network can be built again by its name."""
    return about.model is not None or bool(about.members)


def _measures(of: Subject) -> Markdown:
    """All measures of the weights in the files, of each epoch and split."""
    abouts = [file.about for file in of.files if file.about is not None and _is_of_run(of, file.about)]
    rows = {}
    for about in [of.about, *abouts]:
        for split, measures in about.errors.items():
            columns = known_columns(measures, of.run.headline)
            rows[_weights(of, about), split] = {
                "weights": _weights(of, about),
                "split": split,
                **{name: f"{measures[key]:.3f}" for key, name in columns.items()},
                **({"images": f"{measures['images']:,.0f}"} if "images" in measures else {}),
            }
    return table(list(rows.values()), ("weights", "split")) if rows else Markdown("")


def _each_class(of: Subject) -> Markdown:
    """The IoU of each class by the weights that are exported now, where pixels have classes."""
    rows = class_rows(of.run, of.about)
    return table(rows, ("class",)) if rows else Markdown("")


def _options(of: Subject) -> Markdown:
    rows = option_rows(of.run, of.method)
    return table(rows, tuple(rows[0])) if rows else Markdown("")


def _command(text: str | None) -> Markdown:
    return block(text, "sh") if text else Markdown("")


def _cascade(of: Subject) -> dict[str, Any]:
    """What was measured of the networks as a cascade, if they lie there as one."""
    adaptive, there = of.run.adaptive, RUNNER in {file.name for file in of.files}
    if adaptive is None or not there:
        return {"cascade": there, "cascade_rows": Markdown("")}
    return {
        "cascade": True,
        "cascade_title": adaptive_table.title(adaptive),
        "cascade_rows": table(adaptive_table.adaptive_rows(adaptive), ("network",)),
        "cascade_notes": adaptive_table.adaptive_notes(adaptive),
    }


def _classes(names: Sequence[str]) -> Markdown:
    """A numbered list from 0, the position of the logit; the rest of very many is only counted."""
    lines = [f"{number}. {item(name)}" for number, name in enumerate(names[:MOST])]
    if len(names) > MOST:
        lines += ["", f"and {len(names) - MOST:,} more; the metadata of the files has all."]
    return Markdown("\n".join(lines))

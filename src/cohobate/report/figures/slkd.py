"""The figures of SLKD's paper, from a run: what the student is far from, and what fusing gains."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import cycle
from typing import Any

from ...runs.reading import SPLITS, Run
from .plots import PALETTE, Chart, our_style, phase_starts

FUSED, ALONE = "sl_fused", "sl_teacher_"
_SL_TERM = re.compile(r"kd_sl(_\d+)?")


def figures(run: Run) -> list[tuple[str, str]]:
    """Every figure that the run has the numbers for, as SVG with its caption; none if it is no SLKD run."""
    divergence = "How far the targets are: mean KL at the temperature of training, on the training images"
    enforcement = "SL-teachers alone and fused (trajectory enforcement)"
    found = []
    for draw, caption in ((divergence_curves, divergence), (enforcement_curves, enforcement)):
        with suppress(ValueError):
            found.append((draw(run), caption))
    return found


def divergence_curves(run: Run) -> str:
    """KL(target || learner) over the epochs, as SVG: one line a pair, a rule between phases (figure 2).

    The logged terms, divided by their known factors: so the mean over the training images, as they were
    augmented, by the weights of the moment, in nats, of the predictions softened by ``temperature``.
    A pair whose weight is 0 has no line. The two phases of the sequential form follow one another.

    Raises:
        ValueError: the run is none of SLKD, has logged no such term yet, or does not record its weights.
    """
    curves = _divergences(run)
    if not curves:
        raise ValueError(f"{run.folder} ({run.method}) has logged no KL term of SLKD (kd_sl, kd_sl_1 ...)")
    starts = phase_starts(_told(run))
    with our_style(f"divergence {run.folder.name}"):
        chart = Chart("KL divergence, nats")
        for (name, curve), colour in zip(curves.items(), cycle(PALETTE), strict=False):
            gaps = dict.fromkeys(starts, math.nan)
            chart.line(dict(sorted((gaps | curve).items())), name, colour)
        for x, phase in starts.items():
            chart.rule(x, phase)
        return chart.svg("Divergence between the predictions of the networks over the epochs")


def enforcement_curves(run: Run) -> str:
    """Accuracy of each SL-teacher alone and of their fusion over the epochs, as SVG (figure 3).

    On the validation split, else the first split that was measured at each epoch.

    Raises:
        ValueError: the run has not measured fused SL-teachers.
    """
    learning = _fusing(run)
    if FUSED not in learning.predictors():
        raise ValueError(
            f"{run.folder} ({run.method}) has not measured {FUSED}: the figure needs an SLKD run with "
            "several SL-teachers and a split that is measured at each epoch"
        )
    split = next(split for split in SPLITS if FUSED in learning.predictors(split))
    names = [name for name in learning.predictors(split) if name.startswith(ALONE)]
    with our_style(f"enforcement {run.folder.name}"):
        chart = Chart(f"{split} accuracy, percent")
        for name, colour in zip([FUSED, *names], cycle(PALETTE), strict=False):
            errors = learning.curve(split, name)
            said = "fused" if name == FUSED else f"SL-teacher {name.removeprefix(ALONE)} alone"
            chart.line({epoch: 100 - error for epoch, error in errors.items()}, said, colour)
        return chart.svg("Accuracy of the SL-teachers, alone and fused, over the epochs")


def _divergences(run: Run) -> dict[str, dict[float, float]]:
    """What is compared -> epoch, counted over the phases that tell of it -> KL."""
    curves: dict[str, dict[float, float]] = {}
    for i, line in enumerate(_told(run).metrics, 1):
        for term, value in line["losses"].items():
            if term == "kd_teacher" or _SL_TERM.fullmatch(term):
                kl = math.nan if value is None else value / _factor(run, term)
                curves.setdefault(_named(term), {})[i] = kl
    return curves


def _told(run: Run) -> Run:
    """The run's epochs that log a KL with an SL-teacher; of the teacher alone other methods log one too."""
    lines = [line for line in run.metrics if any(map(_SL_TERM.fullmatch, line.get("losses") or {}))]
    return replace(run, metrics=lines)


def _fusing(run: Run) -> Run:
    """The epochs that measured fused SL-teachers: of an earlier phase, in the sequential form."""
    return replace(run, metrics=[line for line in run.metrics if _measures(line, FUSED)])


def _measures(line: Mapping[str, Any], predictor: str) -> bool:
    return any(predictor in (line.get(split) or {}) for split in SPLITS)


def _named(term: str) -> str:
    names = {"kd_teacher": "KL(T || S)", "kd_sl": "KL(SL || S)"}
    return names.get(term) or f"KL(T || SL {term.removeprefix('kd_sl_')})"


def _factor(run: Run, term: str) -> float:
    """What the KL was multiplied by: weight (1 - alpha) tau^2.

    Raises:
        ValueError: run.yaml does not say, or it was multiplied by 0.
    """
    weight = {"kd_teacher": "teacher_weight", "kd_sl": "sl_weight"}.get(term)
    missing = [key for key in ("alpha", "temperature", weight) if key and key not in run.config]
    if missing:
        raise ValueError(f"{run.folder}/run.yaml does not record {', '.join(missing)} of the term {term}")
    factor = (1 - run.config["alpha"]) * run.config["temperature"] ** 2
    factor *= run.config[weight] if weight else 1
    if factor == 0:
        raise ValueError(f"{run.folder}: the term {term} has the factor 0, so its KL is not known")
    return float(factor)

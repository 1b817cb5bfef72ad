"""The figures of SLKD's paper, from a run: the distances that its losses measure, and what fusion gains."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import cycle
from typing import Any

from ...core.metrics import TOP1_ERROR
from ...runs.layout import RunFolder
from ...runs.reading import SPLITS, Run
from .chart import PALETTE, Chart, Figure, our_style
from .phases import phase_starts

FUSED, ALONE = "sl_fused", "sl_teacher_"
TEACHER_TERM, STUDENT_TERM, LEARNER_TERM = "kd_teacher", "kd_sl", "kd_sl_"
"""Terms of the loss: KL(T || S), KL(SL || S), and KL(T || SL i), to which the number i is appended."""


def figures(run: Run) -> Iterator[Figure]:
    """Every figure for which an SLKD run has the numbers; none for other methods."""
    divergence = "How far the targets are: mean KL at the temperature of training, on the training images"
    enforcement = "SL-teachers alone and fused (trajectory enforcement)"
    for draw, caption in ((divergence_curves, divergence), (enforcement_curves, enforcement)):
        with suppress(ValueError):
            yield Figure(draw(run), caption)


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
    starts = phase_starts(_with_terms(run))
    with our_style(f"divergence {run.folder.name}"):
        chart = Chart("KL divergence, nats")
        for (name, curve), colour in zip(curves.items(), cycle(PALETTE), strict=False):
            gaps = dict.fromkeys(starts, math.nan)
            chart.line(dict(sorted((gaps | curve).items())), name, colour)
        for x, phase in starts.items():
            chart.rule(x, phase)
        return chart.svg("Divergence between the predictions of the networks over the epochs")


def enforcement_curves(run: Run) -> str:
    """Top-1 accuracy of each SL-teacher alone and of their fusion over the epochs, as SVG (figure 3).

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
            errors = learning.curve(split, name, TOP1_ERROR.name)
            label = "fused" if name == FUSED else f"SL-teacher {name.removeprefix(ALONE)} alone"
            chart.line({epoch: 100 - error for epoch, error in errors.items()}, label, colour)
        return chart.svg("Accuracy of the SL-teachers, alone and fused, over the epochs")


def _divergences(run: Run) -> dict[str, dict[float, float]]:
    """Pair that is compared -> epoch, counted over the phases that log SLKD's terms -> KL."""
    curves: dict[str, dict[float, float]] = {}
    for i, line in enumerate(_with_terms(run).metrics, 1):
        for term, value in line["losses"].items():
            if term == TEACHER_TERM or _is_sl_term(term):
                kl = math.nan if value is None else value / _factor(run, term)
                curves.setdefault(_pair(term), {})[i] = kl
    return curves


def _is_sl_term(term: str) -> bool:
    number = term.removeprefix(LEARNER_TERM)
    return term == STUDENT_TERM or (number != term and number.isdigit())


def _with_terms(run: Run) -> Run:
    """The run's epochs that log a KL with an SL-teacher; other methods log one with the teacher."""
    return replace(run, metrics=[x for x in run.metrics if any(map(_is_sl_term, x.get("losses") or {}))])


def _fusing(run: Run) -> Run:
    """The epochs that measured fused SL-teachers: of an earlier phase, in the sequential form."""
    return replace(run, metrics=[line for line in run.metrics if _has_error(line, FUSED)])


def _has_error(line: Mapping[str, Any], predictor: str) -> bool:
    measured = [(line.get(split) or {}).get(predictor) or {} for split in SPLITS]
    return any(TOP1_ERROR.name in metrics for metrics in measured)


def _pair(term: str) -> str:
    pairs = {TEACHER_TERM: "KL(T || S)", STUDENT_TERM: "KL(SL || S)"}
    return pairs.get(term) or f"KL(T || SL {term.removeprefix(LEARNER_TERM)})"


def _weight(run: Run, option: str) -> float:
    """lambda or eta; an eta that is not given is 3, and 1 without the teacher, as in SLKD's losses."""
    given: float | None = run.config[option]
    if given is not None:
        return given
    return 3.0 if run.config["teacher_weight"] > 0 else 1.0


def _factor(run: Run, term: str) -> float:
    """What the KL was multiplied by: weight (1 - alpha) tau^2.

    Raises:
        ValueError: the configuration does not record it, it changes over the run, or it is 0.
    """
    weight = {TEACHER_TERM: "teacher_weight", STUDENT_TERM: "sl_weight"}.get(term)
    missing = [key for key in ("alpha", "temperature", weight) if key and key not in run.config]
    if missing:
        file = RunFolder(run.folder).config
        raise ValueError(f"{file} does not record {', '.join(missing)} of the term {term}")
    temperature = run.config["temperature"]
    if isinstance(temperature, str):
        raise ValueError(
            f"{run.folder}: the temperature changed over the run ({temperature}), so no one factor turns the "
            "logged terms into KL"
        )
    factor = (1 - run.config["alpha"]) * temperature**2
    factor *= _weight(run, weight) if weight else 1
    if factor == 0:
        raise ValueError(f"{run.folder}: the term {term} has the factor 0, so its KL is not known")
    return float(factor)

"""Terms between student and teacher, made for two networks: one, or several that add up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..config.declared import imported
from ..config.objects import nearest
from ..core import Frozen, Mean, Output, Phase, Plan, Shape, Taps, Term
from ..data.dataset import Dataset, Labelled
from ..methods.distillation import Distillation
from ..models.surgery.norms import stage_norms
from ..models.surgery.preacts import give_preacts
from ..models.surgery.probe import look
from ..models.taps import read_taps
from .catalogue import TERMS, term_names, term_options
from .job import Job
from .matching import show_as


@dataclass(frozen=True)
class Pair:
    """The outputs and labels for which a term is made (:class:`cohobate.core.Between`)."""

    student: Output
    teacher: Output
    labels: Tensor
    network: nn.Module
    shape: Shape
    taps: Taps = "stages"

    @classmethod
    def of(
        cls,
        student: nn.Module,
        teacher: nn.Module,
        dataset: Dataset,
        taps: Taps = "stages",
        say: Callable[[str], None] = lambda line: None,
    ) -> Pair:
        """Let both networks return these stages, and run them on two random images.

        ``say`` prints which of them the benchmark does not have, if its stages are asked for.
        """
        shape = dataset.shape
        show_as(teacher, dataset)
        for role, network in (("student", student), ("teacher", teacher)):
            if not read_taps(network, taps) and taps == "benchmark":
                say(f"note: the {role} is no built-in network; --taps does not change its stages")
        outputs = look(student, shape).output, look(teacher, shape).output
        labels = dataset.train.y if isinstance(dataset.train, Labelled) else torch.empty(0, dtype=torch.int64)
        return cls(*outputs, labels, teacher, shape, taps)

    def teacher_norms(self) -> list[_BatchNorm]:
        """The batch norm that ends each stage of the teacher."""

        network = self.network
        while isinstance(network, Mean):  # whose features are those of the first
            network = network.networks[0]
        return list(stage_norms(network, self.shape))


def built(pair: Pair, names: Sequence[str], options: Mapping[str, Any]) -> dict[str, Term]:
    """The terms, each with its own options."""
    own: dict[str, dict[str, Any]] = {name: {} for name in names}
    for option, name, inner, _ in term_options(names):
        if option in options:
            own[name][inner] = options[option]
    return {name: imported(TERMS[name]).between(pair, **own[name]) for name in names}


def make_terms(
    name: str,
    student: nn.Module,
    teacher: nn.Module,
    dataset: Dataset,
    *,
    taps: Taps = "stages",
    **options: Any,
) -> dict[str, Term]:
    """The terms of ``kd``, ``at`` or ``kd+at+crd`` between two networks, for :class:`cohobate.Distillation`.

    Args:
        name: of one term, or of several joined by ``+`` (`cohobate list methods`).
        student: returns an Output with the features that the terms compare.
        teacher: the same; a plain network, or Frozen.
        dataset: for training the student, its validation split held out (:func:`cohobate.hold_out`)
            where a term remembers its images (``crd``).
        taps: the feature maps that are compared, which both networks return as their stages from now on;
            ``benchmark``: those of the public CIFAR-100 benchmark (:func:`cohobate.models.taps.read_taps`).
        **options: as on the command line: ``weight=0.5`` of one term, ``at_weight=0.5`` among several.

    Raises:
        ValueError: an unknown term or option (with the nearest), or a network that lacks what a term
            reads.
    """
    names = term_names(name)
    if not names:
        raise ValueError(f"unknown term {name!r}; the nearest are {nearest(name, TERMS)}")
    known = [option for option, *_ in term_options(names)]
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}; the nearest are {nearest(option, known)}")
    network = teacher.network if isinstance(teacher, Frozen) else teacher
    _show(names, (student, network), dataset.shape)
    return built(Pair.of(student, network, dataset, taps), names, options)


def _show(names: Sequence[str], networks: Sequence[nn.Module], shape: Shape) -> None:
    """Let adapted networks return their stages before the last ReLU if a term reads them."""
    if any(imported(TERMS[name]).reads_preacts for name in names):
        for network in networks:
            give_preacts(network, shape)


def distillation(job: Job, names: Sequence[str], options: Mapping[str, Any]) -> Plan:
    """One phase: the run's network learns from its teacher by these terms."""
    teacher, student = job.teacher(), job.network()
    _show(names, (student, teacher.network), job.shape)
    pair = Pair.of(student, teacher.network, job.dataset, job.training.taps, job.say)
    terms = built(pair, names, options)
    yield Phase("student", Distillation(student, teacher, terms, ce_weight=options["ce_weight"]))

"""ResKD as a plan, and the two baselines of its table 2: an ensemble, and networks trained together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from torch import nn
from typing_extensions import Doc

from ..config.declared import PassedOn
from ..config.words import count
from ..core import Ending, Frozen, Method, Phase, Plan, Sum, Term
from ..core.options import Temperature, own
from ..methods.kd import KD
from ..methods.l2 import L2, Reduction
from ..methods.reskd import EnsembleMember, MutualResKD, OfLogits, ResKD
from ..methods.rkd import RKD
from ..methods.supervised import Supervised
from .energy import SHARE, Energies, ShareOption, SplitOption
from .job import Job
from .stopping import Stop
from .teachers import untrained

Loss = Literal["l2", "probabilities", "kl"]
LossOption = Annotated[
    Loss,
    Doc(
        "L_(T-S) of eq. 3: squared L2 between logits, the same between softened probabilities, or KL of "
        "softened probabilities."
    ),
]
Reduced = Annotated[
    Reduction | None,
    Doc(
        "Squared differences are summed or averaged over the classes; by default the mean for logits, the "
        "sum for probabilities."
    ),
]
Members = Annotated[
    tuple[str, ...], Doc("Models of the networks beside --model; by default one more like --model.")
]
Networks = Annotated[
    int | None, Ge(2), Doc("Number of networks; by default 2, or one more than --members names.")
]
LearnedOptions = Annotated[Any, PassedOn("recipes.reskd:learned")]
Via = Literal["kd", "dml", "rkd"]

TAU = 0.9
"""tau of eq. 3; the paper prints none."""

MUTUAL_TAU = 0.5
"""The same where the teacher learns, too: as much from labels as from each other, as in DML.

With 0.9 two networks soon agree on a constant, and the labels are too weak to part them.
"""

RES_STUDENTS = 3
"""How many res-students are trained at most where nothing says how many."""


def reskd(
    job: Job,
    *,
    res_students: Annotated[
        tuple[str, ...], Doc("Models of the res-students R_1, R_2 ..., in order; by default --model for all.")
    ] = (),
    stages: Annotated[
        int | None,
        Ge(1),
        Doc("Number of res-students at most; by default as many as --res-students names, or 3."),
    ] = None,
    stop_share: Annotated[
        float | None,
        Gt(0),
        Le(1),
        Doc("Stop once the energy of S_i on D_v exceeds this share of the teacher's; none: never."),
    ] = 0.9,
    max_macs: Annotated[
        float | None,
        Gt(0),
        Doc("Stop before S_i would need more multiply-accumulates an image than this; by default never."),
    ] = None,
    energy_split: SplitOption = "train",
    energy_share: ShareOption = SHARE,
    via: Annotated[
        Via, Doc("The method underneath, in every stage: eq. 3, DML (the teacher learns, too), or RKD.")
    ] = "kd",
    loss: LossOption = "l2",
    reduction: Reduced = None,
    tau: Annotated[
        float | None,
        Ge(0),
        Le(1),
        Doc(
            "tau of eq. 3, weight of the distillation loss; the cross-entropy has 1 - tau. By default 0.9, "
            "with --via dml 0.5."
        ),
    ] = None,
    temperature: Temperature = 4.0,
    peer: Annotated[
        Literal["teacher", "untrained"],
        Doc("What the learning teacher of --via dml begins as, anew in every stage."),
    ] = "teacher",
    rkd_of: Annotated[
        Literal["logits", "features"],
        Doc("What --via rkd relates: logits of R_i and T - S_(i-1), or pooled features of R_i and T."),
    ] = "logits",
    compare: Annotated[
        Literal["sum", "residual"] | None,
        Doc(
            "What stage i compares: sum, S_(i-1) + R_i with T; residual, R_i with T - S_(i-1), which is the "
            "same for L2 between logits. By default sum, with --via rkd residual."
        ),
    ] = None,
    **options: Annotated[
        Any, PassedOn("methods.reskd:ResKD", "methods.rkd:RKD", without=("ce_weight", "compare", "weight"))
    ],
) -> Plan:
    """Res-students learn, one after the other, what their sum lacks of the teacher (Li et al., 2021)."""
    names = _names(job.training.model, res_students, stages)
    energies = Energies(job, energy_split, energy_share)
    teacher = job.teacher()
    share = (MUTUAL_TAU if via == "dml" else TAU) if tau is None else tau
    term, ce_weight = _distance(loss, reduction, share, temperature), 1 - share
    if via == "rkd":
        rkd = RKD(**own(RKD, options))
        term, ce_weight = OfLogits(rkd) if rkd_of == "logits" else rkd, 1.0
    how = {
        "ce_weight": ce_weight,
        "compare": compare or ("residual" if via == "rkd" else "sum"),
        "ce_of": options["ce_of"],
    }
    stage = _Stage(job, teacher, term, how, via == "dml", peer)

    networks = [job.network()]
    yield Phase("S_0", stage.method(networks[0], ()))
    energies.measure_teacher(teacher)
    finished = [energies.add(Frozen(networks[0]))]
    stop = Stop(energies, stop_share, max_macs, len(names))
    stop.say_if_close(job)
    for number, name in enumerate(names, 1):
        networks.append(job.build(name))
        if stop.over_budget(job, name, networks):
            break
        yield Phase(f"R_{number}", stage.method(networks[-1], finished))
        finished.append(energies.add(Frozen(networks[-1])))
        if stop.close_enough(number):
            break
    job.say(f"ResKD ends with {count(len(finished) - 1, 'res-student')}: {stop.reason}")
    members = (job.training.model, *names)[: len(finished)]
    return Ending(members, {"stopped": stop.by, "reason": stop.reason, **energies.found()})


def ensemble(
    job: Job,
    *,
    networks: Networks = None,
    members: Members = (),
    energy_split: SplitOption = "train",
    energy_share: ShareOption = SHARE,
    **options: LearnedOptions,
) -> Plan:
    """Networks are trained each for itself, and their logits added: a baseline of ResKD (Li et al., 2021)."""
    specs = _members(job.training.model, members, networks)
    energies = Energies(job, energy_split, energy_share)
    method = learned(job, **options)
    finished: list[Frozen] = []
    for number, spec in enumerate(specs, 1):
        network = job.build(spec) if finished else job.network()
        yield Phase(f"member-{number}", EnsembleMember(method(network), finished))
        finished.append(energies.add(Frozen(network)))
    return Ending(specs, energies.found())


def trained_together(
    job: Job,
    *,
    networks: Networks = None,
    members: Members = (),
    energy_split: SplitOption = "train",
    energy_share: ShareOption = SHARE,
    **options: LearnedOptions,
) -> Plan:
    """Networks whose logits add up are trained as one network: a baseline of ResKD (Li et al., 2021)."""
    specs = _members(job.training.model, members, networks)
    energies = Energies(job, energy_split, energy_share)
    method = learned(job, **options)
    together = [job.network(), *map(job.build, specs[1:])]
    yield Phase("train", method(Sum(together)))
    for network in together:
        energies.add(network)
    return Ending(specs, energies.found())


# ---------------------------------------------------------------- parts


def _names(model: str, res_students: Sequence[str], stages: int | None) -> tuple[str, ...]:
    """The models of the res-students.

    Raises:
        ValueError: another number of stages than of named res-students.
    """
    if not res_students:
        return (model,) * (stages or RES_STUDENTS)
    if stages not in (None, len(res_students)):
        raise ValueError(
            f"--stages {stages} and {count(len(res_students), 'res-student')} in --res-students do not go "
            "together; leave out one of the two"
        )
    return tuple(res_students)


def _members(model: str, members: Sequence[str], networks: int | None) -> tuple[str, ...]:
    """The models of networks that add up, the run's own first.

    Raises:
        ValueError: another number of networks than of named ones.
    """
    if members and networks not in (None, 1 + len(members)):
        raise ValueError(
            f"--model and {count(len(members), 'other')} in --members make {1 + len(members)} networks, not "
            f"{networks}"
        )
    return (model, *(members or (model,) * ((networks or 2) - 1)))


def _distance(loss: Loss, reduction: Reduction | None, tau: float, temperature: Any) -> Term:
    """tau L_(T-S) of eq. 3."""
    if loss == "kl":
        return KD(temperature=temperature, weight=tau)
    of: Literal["logits", "probabilities"] = "logits" if loss == "l2" else "probabilities"
    return L2(of=of, reduction=reduction, temperature=temperature, weight=tau)


@dataclass(frozen=True)
class _Stage:
    """What all stages have in common."""

    job: Job
    teacher: Frozen
    term: Term
    options: Mapping[str, Any]
    mutual: bool
    peer: Literal["teacher", "untrained"]

    def method(self, network: nn.Module, earlier: Sequence[Frozen]) -> Method:
        if not self.mutual:
            return ResKD(network, self.teacher, self.term, earlier, **self.options)
        if self.peer == "untrained":
            (other,) = untrained(self.job, 1)
        else:
            other = deepcopy(self.teacher.network).requires_grad_(True)
        return MutualResKD(network, other, self.term, earlier, **self.options)


def learned(
    job: Job,
    *,
    learn: Annotated[
        Literal["kd", "labels"],
        Doc("What the networks learn from: teacher and labels (eq. 3), or the labels alone."),
    ] = "kd",
    loss: LossOption = "l2",
    reduction: Reduced = None,
    tau: Annotated[
        float,
        Ge(0),
        Le(1),
        Doc("tau of eq. 3, weight of the distillation loss; the cross-entropy has 1 - tau."),
    ] = TAU,
    temperature: Temperature = 4.0,
) -> Callable[[nn.Module], Method]:
    """How a network of a baseline learns: a network -> the method that trains it."""
    if learn == "labels":
        if job.training.teacher:
            job.say("note: the networks learn from the labels alone; the teacher is not used")
        return Supervised
    teacher, term = job.teacher(), _distance(loss, reduction, tau, temperature)
    return lambda network: ResKD(network, teacher, term, ce_weight=1 - tau)

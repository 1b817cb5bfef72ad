"""Recipes of online distillation: peers as separate networks, or as branches of one; without a teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge
from torch import nn
from typing_extensions import Doc

from ..config.declared import PassedOn
from ..config.grammar import without
from ..core import Group, Method, Output, Phase, Plan, Separate
from ..core.options import own
from ..methods.cl_ilr import CLILR
from ..methods.dml import DML
from ..methods.ffm_cd import Diversified, FeatureFusion
from ..methods.okddip import SelfAttention, TwoLevel
from ..methods.one import ONE, BranchGate
from ..models.surgery.branch import Branched, branch
from ..models.surgery.probe import look
from ..models.surgery.stages import find_head
from .job import Job

Tails = Annotated[int, Ge(2), Doc("Number of branches of the network, each with a classifier.")]
Branches = Annotated[
    int, Ge(2), Doc("Number of branches of the network (or of separate networks), the leader included.")
]
Place = Annotated[
    int | str | None,
    Doc(
        "Number of stages that the branches share (-2: all but the last two), or the path of the module "
        "after which they part; none: as in the paper."
    ),
]
Others = Annotated[
    tuple[str, ...], Doc("Models of the other networks, as --model takes them; by default --model for all.")
]


def dml(
    job: Job,
    *,
    peers: Annotated[
        int | None, Ge(2), Doc("Number of networks; by default 2, or one more than --others names.")
    ] = None,
    others: Others = (),
    **options: Annotated[Any, PassedOn("methods.dml:DML")],
) -> Plan:
    """Networks learn from the labels and from each other's predictions (Zhang et al., 2018)."""
    yield Phase("train", DML(separate(job, peers, others), **options))


def one(
    job: Job,
    *,
    branches: Tails = 3,
    at: Place = None,
    **options: Annotated[Any, PassedOn("methods.one:ONE")],
) -> Plan:
    """Branches learn from their gated ensemble, the last stage branched (Zhu and Gong, 2018)."""
    group, output = branched(job, branches, at, split=1)
    yield Phase("train", ONE(group, BranchGate.of(group, output, branches), **options))


def cl_ilr(
    job: Job,
    *,
    branches: Tails = 4,
    at: Place = None,
    **options: Annotated[Any, PassedOn("methods.cl_ilr:CLILR")],
) -> Plan:
    """Branches learn from each other's mean, the gradient of the trunk rescaled (Song and Chai, 2018)."""
    group, _ = branched(job, branches, at, split=1)
    yield Phase("train", CLILR(group, **options))


def okddip(
    job: Job,
    *,
    branches: Branches = 4,
    at: Place = None,
    separate_networks: Annotated[
        bool, Doc("Train separate networks instead of branches of one (the paper's network-based form).")
    ] = False,
    others: Others = (),
    alpha: Annotated[
        float, Ge(0), Doc("alpha, weight of the KL terms of the peers and of the leader.")
    ] = 1.0,
    **options: Annotated[Any, PassedOn("methods.okddip:TwoLevel", without=("beta", "leader_target"))],
) -> Plan:
    """Peers learn from self-attended ensembles and teach a leader (Chen et al., 2020)."""
    if others and not separate_networks:
        raise ValueError("branches are of one model; others needs --separate-networks")
    group: Group
    if separate_networks:
        group = separate(job, None if others else branches, others)
        output = job.look(group.alone(0))
    else:
        group, output = branched(job, branches, at, split=1)
    yield Phase("train", TwoLevel(group, SelfAttention.of(output), alpha=alpha, beta=alpha, **options))


# ---------------------------------------------------------------- table 6 of the diversity paper

BETA = {"beta": 2.0}
Weighed = Annotated[Any, PassedOn("methods.okddip:TwoLevel", defaults=BETA)]
Fused = Annotated[Any, PassedOn("methods.okddip:TwoLevel", "methods.ffm_cd:FeatureFusion", defaults=BETA)]
Diverse = Annotated[Any, PassedOn("methods.okddip:TwoLevel", "methods.ffm_cd:Diversified", defaults=BETA)]
FusedDiverse = Annotated[
    Any,
    PassedOn(
        "methods.okddip:TwoLevel",
        "methods.ffm_cd:FeatureFusion",
        "methods.ffm_cd:Diversified",
        defaults=BETA,
    ),
]


def gate(job: Job, *, branches: Branches = 4, at: Place = None, **options: Weighed) -> Plan:
    """Branches are weighed by ONE's gate and teach a leader (Li et al., 2020)."""
    yield from _multi_branch(job, "gate", branches, at, options)


def sa(job: Job, *, branches: Branches = 4, at: Place = None, **options: Weighed) -> Plan:
    """Branches are weighed by self-attention and teach a leader (Li et al., 2020)."""
    yield from _multi_branch(job, "sa", branches, at, options)


def ffm(job: Job, *, branches: Branches = 4, at: Place = None, **options: Fused) -> Plan:
    """Branches are weighed by a module that fuses their feature maps (FFM) and teach a leader
    (Li et al., 2020)."""
    yield from _multi_branch(job, "ffm", branches, at, options)


def gate_cd(job: Job, *, branches: Branches = 4, at: Place = None, **options: Diverse) -> Plan:
    """Branches are weighed by ONE's gate and teach a leader, and a loss keeps their classifiers
    apart (CD) (Li et al., 2020)."""
    yield from _multi_branch(job, "gate", branches, at, options)


def sa_cd(job: Job, *, branches: Branches = 4, at: Place = None, **options: Diverse) -> Plan:
    """Branches are weighed by self-attention and teach a leader, and a loss keeps their classifiers
    apart (CD) (Li et al., 2020)."""
    yield from _multi_branch(job, "sa", branches, at, options)


def ffm_cd(job: Job, *, branches: Branches = 4, at: Place = None, **options: FusedDiverse) -> Plan:
    """Branches are weighed by a module that fuses their feature maps (FFM) and teach a leader, and a loss
    keeps their classifiers apart (CD) (Li et al., 2020)."""
    yield from _multi_branch(job, "ffm", branches, at, options)


def _multi_branch(
    job: Job, attention: str, branches: int, at: int | str | None, options: Mapping[str, Any]
) -> Plan:
    group, output = branched(job, branches, at, split=2)
    peers = len(group) - 1
    module: nn.Module
    if attention == "gate":
        module = BranchGate.of(group, output, peers)
    elif attention == "sa":
        module = SelfAttention.of(output)
    else:
        module = FeatureFusion(output.stages[-1].shape[1], peers, **own(FeatureFusion, options))
    method: Method = TwoLevel(group, module, **own(TwoLevel, options))
    if options.get("gamma", 0.0) != 0:
        method = _diversified(job, Diversified(method, classifiers(job, group), **own(Diversified, options)))
    yield Phase("train", method)


def _diversified(job: Job, method: Diversified) -> Diversified:
    """Give every process the gamma of the first one, and print it with the initial value of the term."""
    # Where gamma is matched: each process draws weights of its own, and trains the first one's.
    method.gamma = job.first(method.gamma)
    size = method.gamma * float(method.diversity().detach())
    job.say(f"CD loss: gamma {method.gamma:.3g}, so it begins at {size:.3g}")
    return method


# ---------------------------------------------------------------- parts


def branched(job: Job, branches: int, at: int | str | None, split: int) -> tuple[Branched, Output]:
    """The run's network with tails of by default its last ``split`` stages; and the network's Output.

    Raises:
        ValueError: the network has no such place, or cannot be cut there.
    """
    network = job.network()
    output = job.look(network)
    stages = len(output.stages)
    if isinstance(at, int) and at < 0:
        if stages + at < 1:
            raise ValueError(
                f"at={at} gives each branch {-at} stages, but {job.training.model} has {stages} and the "
                f"branches share at least one; at goes from -1 to {1 - stages}"
            )
        at += stages
    place = max(1, stages - split) if at is None else at
    return branch(network, place, branches, job.shape), output


def separate(job: Job, count: int | None, others: Sequence[str]) -> Separate:
    """The run's network and others beside it, each with weights of its own.

    Raises:
        ValueError: ``count`` is not the number of named networks.
    """
    if others and count not in (None, 1 + len(others)):
        raise ValueError(f"--model and {len(others)} others make {1 + len(others)} networks, not {count}")
    again, _ = without(job.training.model, "weights", "pretrained")
    names = others or (again,) * ((count or 2) - 1)
    return Separate([job.network(), *map(job.build, names)])


def classifiers(job: Job, group: Branched) -> list[nn.Module]:
    """The last layer of each branch.

    Raises:
        ValueError: the logits are not the output of a linear layer.
    """
    network = group.alone(0)
    head = find_head(look(network, job.shape))
    if head is None:
        raise ValueError(
            f"the CD loss compares classifiers, and the logits of {job.training.model} are not the output "
            "of one linear layer; take the method without it (gate, sa, ffm)"
        )
    return [tail.get_submodule(head) for tail in group.tails]

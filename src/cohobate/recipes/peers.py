"""Networks that teach each other: made side by side, or as branches of one network. No teacher is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge
from typing_extensions import Doc

from ..config.declared import PassedOn
from ..config.grammar import without

if TYPE_CHECKING:
    from torch import nn

    from ..core import Group, Method, Output, Plan, Separate
    from ..models.surgery.branch import Branched
    from .job import Job

Tails = Annotated[int, Ge(2), Doc("Tails of the network.")]
Branches = Annotated[int, Ge(2), Doc("Tails of the network, that of the leader included.")]
Place = Annotated[
    int | str | None,
    Doc("Stages that the branches share, or the module to part after; none: as in the paper."),
]
Others = Annotated[tuple[str, ...], Doc("Models of the other networks; by default --model again.")]


def dml(
    job: Job,
    *,
    peers: Annotated[int | None, Ge(2), Doc("Networks; by default 2, or as many as named.")] = None,
    others: Others = (),
    **options: Annotated[Any, PassedOn("methods.dml:DML")],
) -> Plan:
    """Networks learn from the labels and from each other's predictions (Zhang et al., 2018)."""
    from ..core import Phase
    from ..methods.dml import DML

    yield Phase("train", DML(separate(job, peers, others), **options))


def one(
    job: Job,
    *,
    branches: Tails = 3,
    at: Place = None,
    **options: Annotated[Any, PassedOn("methods.one:ONE")],
) -> Plan:
    """Branches learn from their gated ensemble, the last stage branched (Zhu and Gong, 2018)."""
    from ..core import Phase
    from ..methods.one import ONE

    group, output = branched(job, branches, at, split=1)
    yield Phase("train", ONE(group, gate_of(group, output, branches), **options))


def cl_ilr(
    job: Job,
    *,
    branches: Tails = 4,
    at: Place = None,
    **options: Annotated[Any, PassedOn("methods.cl_ilr:CLILR")],
) -> Plan:
    """Branches learn from each other's mean, the gradient rescaled where they meet (Song and Chai, 2018)."""
    from ..core import Phase
    from ..methods.cl_ilr import CLILR

    group, _ = branched(job, branches, at, split=1)
    yield Phase("train", CLILR(group, **options))


def okddip(
    job: Job,
    *,
    branches: Branches = 4,
    at: Place = None,
    separate_networks: Annotated[
        bool, Doc("Networks of their own instead of branches (network-based).")
    ] = False,
    others: Others = (),
    alpha: Annotated[float, Ge(0), Doc("Weight of the KL terms of both levels.")] = 1.0,
    **options: Annotated[Any, PassedOn("methods.okddip:TwoLevel", without=("beta", "leader_target"))],
) -> Plan:
    """Peers with a self-attended teacher each, who teach a leader (Chen et al., 2020)."""
    from ..core import Phase
    from ..methods.okddip import TwoLevel

    if others and not separate_networks:
        raise ValueError("branches are of one model; others needs --separate-networks")
    group: Group
    if separate_networks:
        group = separate(job, None if others else branches, others)
        output = job.look(group.alone(0))
    else:
        group, output = branched(job, branches, at, split=1)
    yield Phase("train", TwoLevel(group, self_attention(output), alpha=alpha, beta=alpha, **options))


# ---------------------------------------------------------------- table 6 of the diversity paper

Gamma = Annotated[
    float | None,
    Ge(0),
    Doc("Weight of the CD loss; none: as large at the start as 5e-8 makes `outer`."),
]
Pairs = Annotated[
    Literal["all", "peers"], Doc("Classifiers of eq. 5: the leader's too, or the peers' alone.")
]
Level = Annotated[Any, PassedOn("methods.okddip:TwoLevel")]
Fused = Annotated[Any, PassedOn("methods.okddip:TwoLevel", "methods.ffm_cd:FeatureFusion")]
Diverse = Annotated[Any, PassedOn("methods.okddip:TwoLevel", "methods.ffm_cd:Diversified")]
FusedDiverse = Annotated[
    Any, PassedOn("methods.okddip:TwoLevel", "methods.ffm_cd:FeatureFusion", "methods.ffm_cd:Diversified")
]


def gate(job: Job, *, branches: Branches = 4, at: Place = None, **options: Level) -> Plan:
    """Branches are weighed by ONE's gate and teach a leader (Li et al., 2020)."""
    yield from _two_level(job, "gate", branches, at, options)


def sa(job: Job, *, branches: Branches = 4, at: Place = None, **options: Level) -> Plan:
    """Branches are weighed by self-attention and teach a leader (Li et al., 2020)."""
    yield from _two_level(job, "sa", branches, at, options)


def ffm(job: Job, *, branches: Branches = 4, at: Place = None, **options: Fused) -> Plan:
    """Branches are weighed by a fusion of their feature maps (FFM) and teach a leader (Li et al., 2020)."""
    yield from _two_level(job, "ffm", branches, at, options)


def gate_cd(
    job: Job,
    *,
    branches: Branches = 4,
    at: Place = None,
    gamma: Gamma = None,
    pairs: Pairs = "all",
    **options: Diverse,
) -> Plan:
    """As gate, and a loss keeps the branches' classifiers apart (CD) (Li et al., 2020)."""
    yield from _two_level(job, "gate", branches, at, options, gamma, pairs)


def sa_cd(
    job: Job,
    *,
    branches: Branches = 4,
    at: Place = None,
    gamma: Gamma = None,
    pairs: Pairs = "all",
    **options: Diverse,
) -> Plan:
    """As sa, and a loss keeps the branches' classifiers apart (CD) (Li et al., 2020)."""
    yield from _two_level(job, "sa", branches, at, options, gamma, pairs)


def ffm_cd(
    job: Job,
    *,
    branches: Branches = 4,
    at: Place = None,
    gamma: Gamma = None,
    pairs: Pairs = "all",
    **options: FusedDiverse,
) -> Plan:
    """As ffm, and a loss keeps the branches' classifiers apart (CD) (Li et al., 2020)."""
    yield from _two_level(job, "ffm", branches, at, options, gamma, pairs)


def _two_level(
    job: Job,
    attention: str,
    branches: int,
    at: int | str | None,
    options: Mapping[str, Any],
    gamma: float | None = 0.0,
    pairs: str = "all",
) -> Plan:
    """The network in branches that an attention module weighs; with the CD loss unless gamma is 0."""
    from ..core import Phase
    from ..core.options import own
    from ..methods.ffm_cd import Diversified, FeatureFusion
    from ..methods.okddip import TwoLevel

    group, output = branched(job, branches, at, split=2)
    peers = len(group) - 1
    module: nn.Module
    if attention == "gate":
        module = gate_of(group, output, peers)
    elif attention == "sa":
        module = self_attention(output)
    else:
        module = FeatureFusion(output.stages[-1].shape[1], peers, **own(FeatureFusion, options))
    method: Method = TwoLevel(group, module, **own(TwoLevel, options))
    if gamma != 0:
        heads = classifiers(job, group)[0 if pairs == "all" else 1 :]
        reading = own(Diversified, options)
        method = Diversified(method, heads, gamma=said_gamma(job, heads, gamma, reading), **reading)
    yield Phase("train", method)


def said_gamma(
    job: Job, heads: Sequence[nn.Module], gamma: float | None, reading: Mapping[str, Any]
) -> float:
    """The weight of eq. 5, and how large the term begins, said: the printed weight fits one reading only."""
    from ..engine import distributed
    from ..methods.ffm_cd import classifier_diversity, matched_gamma, stacked

    if gamma is None:
        # Each process draws weights of its own, and trains the first one's.
        gamma = distributed.gathered(matched_gamma(heads, **reading))[0]
    size = gamma * float(classifier_diversity(stacked(heads).detach(), **reading))
    job.say(f"CD loss: gamma {gamma:.3g}, so it begins at {size:.3g}")
    return gamma


# ---------------------------------------------------------------- parts


def branched(job: Job, branches: int, at: int | str | None, split: int) -> tuple[Branched, Output]:
    """The run's network with several tails, the last ``split`` stages by default; and what it gives."""
    from ..models.surgery.branch import branch

    network = job.network()
    output = job.look(network)
    place = max(1, len(output.stages) - split) if at is None else at
    return branch(network, place, branches, job.shape), output


def separate(job: Job, count: int | None, others: Sequence[str]) -> Separate:
    """The run's network and others beside it, each with weights of its own.

    Raises:
        ValueError: as many networks as asked for are not named.
    """
    from ..core import Separate

    if others and count not in (None, 1 + len(others)):
        raise ValueError(f"--model and {len(others)} others make {1 + len(others)} networks, not {count}")
    again, _ = without(job.training.model, "weights", "pretrained")
    names = others or (again,) * ((count or 2) - 1)
    return Separate([job.network(), *map(job.build, names)])


def gate_of(group: Branched, output: Output, branches: int) -> nn.Module:
    """ONE's gate, on the last stage that the branches share.

    Raises:
        ValueError: they share none.
    """
    from ..methods.one import BranchGate

    if group.shared == 0:
        raise ValueError("the gate reads the last stage that all branches share, here none; part them later")
    stage = group.shared - 1
    return BranchGate(output.stages[stage].shape[1], branches, stage)


def self_attention(output: Output) -> nn.Module:
    """OKDDip's, on the features before the classifier.

    Raises:
        ValueError: the network does not show them.
    """
    from ..methods.okddip import SelfAttention

    if output.pooled is None:
        raise ValueError(
            "self-attention reads the features before the classifier, which this network does not show; "
            "name its classifier to cohobate.adapt(network, head=...), or take the fusion module (ffm)"
        )
    return SelfAttention(output.pooled.shape[1])


def classifiers(job: Job, group: Branched) -> list[nn.Module]:
    """The last layer of each branch.

    Raises:
        ValueError: the logits are not what a linear layer gives.
    """
    from ..models.surgery.probe import look
    from ..models.surgery.stages import find_head

    network = group.alone(0)
    head = find_head(look(network, job.shape))
    if head is None:
        raise ValueError(
            f"the CD loss compares classifiers, and the logits of {job.training.model} are not what one "
            "linear layer gives; take the method without it (gate, sa, ffm)"
        )
    return [tail.get_submodule(head) for tail in group.tails]

"""Networks that teach each other, by name: no teacher is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import Field

from .job import Job, without
from .terms import Temperature, Weight

if TYPE_CHECKING:
    from torch import nn

    from ..core import Method, Output, Plan, Separate
    from ..models.surgery.branch import Branched

RAMP = 80 / 300

Branches = Annotated[int, Field(ge=2, description="Tails of the network, that of the leader included.")]
Place = Annotated[
    int | str | None,
    Field(description="Stages that the branches share, or the module to part after; none: as in the paper."),
]
Ramp = Annotated[float, Field(ge=0, le=1, description="Share of the run over which the KL terms rise.")]
Detach = Annotated[bool, Field(description="Targets are constants (but for an attention's weights).")]
Others = Annotated[
    tuple[str, ...], Field(description="Models of the other networks; by default --model again.")
]
Alpha = Annotated[float, Field(ge=0, description="Weight of the peers' KL terms, first level.")]


def dml(
    job: Job,
    *,
    peers: Annotated[
        int | None, Field(ge=2, description="Networks; by default 2, or as many as named.")
    ] = None,
    others: Others = (),
    weight: Weight = 1.0,
    temperature: Temperature = 1.0,
    target: Annotated[
        Literal["each", "mean_probabilities", "mean_logits"],
        Field(description="KL from each other network, or one from their mean."),
    ] = "each",
    in_turns: Annotated[bool, Field(description="One network at a time, as printed; off: together.")] = False,
    detach: Detach = True,
) -> Plan:
    """Networks learn from the labels and from each other's predictions (Zhang et al., 2018)."""
    from ..core import Phase
    from ..methods.dml import DML

    yield Phase(
        "train",
        DML(
            separate(job, peers, others),
            weight=weight,
            temperature=temperature,
            target=target,
            in_turns=in_turns,
            detach=detach,
        ),
    )


def one(
    job: Job,
    *,
    branches: Annotated[int, Field(ge=2, description="Tails of the network.")] = 3,
    at: Place = None,
    weight: Weight = 1.0,
    temperature: Temperature = 3.0,
    ramp: Ramp = RAMP,
    detach: Detach = True,
) -> Plan:
    """Branches learn from their gated ensemble, the last stage branched (Zhu and Gong, 2018)."""
    from ..core import Phase
    from ..methods.one import ONE

    group, output = branched(job, branches, at, split=1)
    gate = gate_of(group, output, branches)
    yield Phase("train", ONE(group, gate, weight=weight, temperature=temperature, ramp=ramp, detach=detach))


def cl_ilr(
    job: Job,
    *,
    branches: Annotated[int, Field(ge=2, description="Tails of the network.")] = 4,
    at: Place = None,
    beta: Annotated[float, Field(ge=0, le=1, description="Share of the cross-entropy.")] = 0.5,
    temperature: Temperature = 2.0,
    detach: Detach = True,
    rescale: Annotated[bool, Field(description="The trunk gets the mean gradient of the branches.")] = True,
) -> Plan:
    """Branches learn from each other's mean, the gradient rescaled where they meet (Song and Chai, 2018)."""
    from ..core import Phase
    from ..methods.cl_ilr import CLILR

    group, _ = branched(job, branches, at, split=1)
    yield Phase("train", CLILR(group, beta=beta, temperature=temperature, detach=detach, rescale=rescale))


def okddip(
    job: Job,
    *,
    branches: Branches = 4,
    at: Place = None,
    separate_networks: Annotated[
        bool, Field(description="Networks of their own instead of branches (network-based).")
    ] = False,
    others: Others = (),
    alpha: Annotated[float, Field(ge=0, description="Weight of the KL terms of both levels.")] = 1.0,
    temperature: Temperature = 3.0,
    ramp: Ramp = RAMP,
    detach: Detach = True,
) -> Plan:
    """Peers with a self-attended teacher each, who teach a leader (Chen et al., 2020)."""
    from ..core import Group, Phase
    from ..methods.okddip import TwoLevel

    if others and not separate_networks:
        raise ValueError("branches are of one model; others needs --separate-networks")
    group: Group
    if separate_networks:
        group = separate(job, None if others else branches, others)
        output = dry(job, group.alone(0))
    else:
        group, output = branched(job, branches, at, split=1)
    attention = self_attention(output)
    yield Phase(
        "train",
        TwoLevel(
            group, attention, alpha=alpha, beta=alpha, temperature=temperature, ramp=ramp, detach=detach
        ),
    )


# ---------------------------------------------------------------- table 6 of the diversity paper


def multi_branch(attention: str, diverse: bool) -> Callable[..., Plan]:
    """The recipe of an attention module (``gate``, ``sa``, ``ffm``), with the CD loss or without it."""

    def recipe(job: Job, **options: Any) -> Plan:
        return _multi_branch(job, attention, **options)

    hidden = {"job", "attention"} if attention == "ffm" else {"job", "attention", "widths"}
    hidden |= set() if diverse else {"gamma", "product", "norm", "pairs"}
    parameters = inspect.signature(_multi_branch).parameters
    kept = [parameter for name, parameter in parameters.items() if name not in hidden]
    if diverse:
        kept = [p.replace(default=None) if p.name == "gamma" else p for p in kept]
    hints = get_type_hints(_multi_branch, localns={"Plan": Any}, include_extras=True)
    cd = ", and a loss keeps their classifiers apart (CD)" if diverse else ""
    recipe.__doc__ = f"{_WEIGHING[attention]} and teach a leader{cd} (Li et al., 2020)."
    recipe.__signature__ = inspect.Signature([parameters["job"], *kept])  # type: ignore[attr-defined]
    recipe.__annotations__ = {p.name: hints[p.name] for p in kept}
    return recipe


_WEIGHING = {
    "gate": "Branches are weighed by ONE's gate",
    "sa": "Branches are weighed by self-attention",
    "ffm": "Branches are weighed by a module that fuses their feature maps (FFM)",
}


def _multi_branch(
    job: Job,
    attention: str,
    *,
    branches: Branches = 4,
    at: Place = None,
    alpha: Alpha = 1.0,
    beta: Annotated[float, Field(ge=0, description="Weight of the leader's KL term, second level.")] = 2.0,
    temperature: Temperature = 3.0,
    ramp: Ramp = RAMP,
    detach: Detach = True,
    leader_target: Annotated[
        Literal["peers", "all"], Field(description="Whose mean teaches the leader, eq. 7.")
    ] = "peers",
    widths: Annotated[
        tuple[int, ...] | None,
        Field(
            description="Channels of each convolution of the fusion module; none: two as wide as a "
            "branch, 128 at most."
        ),
    ] = None,
    gamma: Annotated[
        float | None,
        Field(ge=0, description="Weight of the CD loss; none: as large at the start as 5e-8 makes `outer`."),
    ] = 0.0,
    product: Annotated[
        Literal["classes", "features", "outer"], Field(description="Reading of |W_i^T W_j| in eq. 5.")
    ] = "classes",
    norm: Annotated[
        Literal["sum", "mean", "frobenius"], Field(description="What makes a number of that product.")
    ] = "sum",
    pairs: Annotated[
        Literal["all", "peers"], Field(description="Classifiers of eq. 5: the leader's too, or the peers'.")
    ] = "all",
) -> Plan:
    from ..core import Phase
    from ..methods.okddip import TwoLevel

    group, output = branched(job, branches, at, split=2)
    module = attention_of(attention, group, output, widths)
    method: Method = TwoLevel(
        group,
        module,
        alpha=alpha,
        beta=beta,
        temperature=temperature,
        ramp=ramp,
        detach=detach,
        leader_target=leader_target,
    )
    if gamma != 0:
        heads = classifiers(job, group)
        method = _diversified(job, method, heads, gamma=gamma, product=product, norm=norm, pairs=pairs)
    yield Phase("train", method)


def _diversified(job: Job, method: Method, heads: Sequence[nn.Module], **options: Any) -> Method:
    """Eq. 5 added, its size said: the printed weight fits one reading only."""
    from ..engine import distributed
    from ..methods.ffm_cd import Diversified

    diversified = Diversified(method, heads, **options)
    # Each process draws weights of its own, to which gamma is matched, and trains the first one's.
    diversified.gamma = distributed.gathered(diversified.gamma)[0]
    size = diversified.gamma * float(diversified.diversity().detach())
    job.say(f"CD loss: gamma {diversified.gamma:.3g}, so it begins at {size:.3g}")
    return diversified


def attention_of(kind: str, group: Branched, output: Output, widths: tuple[int, ...] | None) -> nn.Module:
    """``gate``, ``sa`` or ``ffm`` for all branches but the leader."""
    from ..methods.ffm_cd import FeatureFusion

    peers = len(group) - 1
    if kind == "gate":
        return gate_of(group, output, peers)
    if kind == "sa":
        return self_attention(output)
    return FeatureFusion(output.stages[-1].shape[1], peers, widths=widths)


# ---------------------------------------------------------------- parts


def dry(job: Job, network: nn.Module) -> Output:
    """What a network gives for two images of this run."""
    from ..models.surgery.probe import look

    return look(network, (3, job.image_size, job.image_size)).output


def branched(job: Job, branches: int, at: int | str | None, split: int) -> tuple[Branched, Output]:
    """The run's network with several tails, the last ``split`` stages by default; and what it gives."""
    from ..models.surgery.branch import branch

    network = job.network()
    output = dry(job, network)
    place = max(1, len(output.stages) - split) if at is None else at
    return branch(network, place, branches, (3, job.image_size, job.image_size)), output


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
    head = find_head(look(network, (3, job.image_size, job.image_size)))
    if head is None:
        raise ValueError(
            f"the CD loss compares classifiers, and the logits of {job.training.model} are not what one "
            "linear layer gives; take the method without it (gate, sa, ffm)"
        )
    return [tail.get_submodule(head) for tail in group.tails]

"""ResKD: networks that learn, one after the other, what is left between the teacher and their sum.

Li, Li, Omar, Wu, Li: ResKD: Residual-Guided Knowledge Distillation, IEEE Trans. Image Processing, 2021.

    T               teacher             its logits
    S_0             network             of stage 0, learned from T by plain distillation
    R_i             network             the res-student of stage i
    S_(i-1)         earlier             S_0, R_1 ... R_(i-1), finished: the sum of their logits
    T_i             residual()          T - S_(i-1), what stage i learns (eq. 4)
    S_i             Sum                 S_(i-1) + R_i (eq. 5)
    L_(T-S)         term                L2 between logits by default
    tau             its weight          and 1 - tau is ce_weight (eq. 3)

A stage is a method, ResKD or MutualResKD; the plan of several stages is :mod:`cohobate.recipes.reskd`.

Choices.
    What is compared: S_(i-1) + R_i with T (``compare="sum"``). For L2 between logits that is the same as R_i
        with T_i, as algorithm 1 prints it (``compare="residual"``); for losses on softmax outputs it is not,
        and a softmax of a residual is hardly a prediction.
    Labels: the cross-entropy reads the logits of S_(i-1) + R_i (``ce_of="sum"``), or those of R_i alone
        ("residual"); the paper does not say. It is the ordinary one, of logits: eq. 3 writes it of their
        softmax.
    "via RKD": RKD in the place of L_(T-S), with T_i in the teacher's place: between the logits of R_i and
        T_i (:class:`OfLogits`, ``compare="residual"``). The paper does not say what is related; between
        pooled features of R_i and T, as in RKD's own paper, S_(i-1) would have no part.
    "via DML": T is a network that learns beside R_i, with the same loss in the other direction. The paper
        gives no details.
    Earlier networks are in evaluation mode, as they are when they are deployed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from torch import Tensor, nn

from ..core import (
    Batch,
    Classifier,
    Frozen,
    Method,
    Output,
    Term,
    as_output,
    cross_entropy,
    float32,
    running_sums,
    with_cross_entropy,
)
from ..core.options import CEWeight, Doc, checked
from .sums import frozen, sum_before, summed_readouts, sums_of

Compare = Annotated[
    Literal["sum", "residual"],
    Doc("What is compared in stage i: S_(i-1) + R_i with T, or R_i with T - S_(i-1); for L2 it is the same."),
]
CEOf = Annotated[
    Literal["sum", "residual"],
    Doc("Logits that the cross-entropy reads in stage i: those of S_(i-1) + R_i, or of R_i alone."),
]


@float32
def residual(teacher: Tensor, student: Tensor) -> Tensor:
    """Delta = T - S, of logits of one shape, (B, K) or (B, K, H, W).

    Raises:
        ValueError: different shapes.
    """
    if teacher.shape != student.shape:
        raise ValueError(
            f"teacher logits {tuple(teacher.shape)} and logits of the students before {tuple(student.shape)} "
            "differ; all networks must predict the same classes"
        )
    return teacher - student  # Eq. 4


class OfLogits(Term):
    """A term on pooled features, such as RKD, on the logits in their place.

    Args:
        term: reads ``Output.pooled`` of student and teacher.
    """

    logits_only = True

    def __init__(self, term: Term) -> None:
        super().__init__()
        self.term = term
        self.weight = term.weight
        self.reads_labels = term.reads_labels

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        loss: Tensor = self.term(_as_pooled(student), _as_pooled(teacher), batch)
        return loss


def _as_pooled(output: Output) -> Output:
    return output._replace(pooled=output.logits.flatten(1))


class ResKD(Method):
    """One stage of ResKD: a network learns what earlier ones lack of the teacher (Li et al., 2021).

    ``ce_weight`` x cross-entropy + weight x term (eq. 3). Deployed is the sum S_i; each shorter sum is a
    read-out.

    Args:
        network: R_i, or S_0 if nothing is earlier.
        teacher: T, frozen (a plain module is copied and frozen).
        term: L_(T-S), :class:`cohobate.L2` in the paper where nothing else is said; its weight is tau.
        earlier: S_0, R_1 ... R_(i-1), frozen (plain modules are copied and frozen).

    Raises:
        ValueError: an option is out of range; or, when it runs, logits of different shapes.
    """

    @checked
    def __init__(
        self,
        network: nn.Module,
        teacher: nn.Module,
        term: Term,
        earlier: Sequence[nn.Module] = (),
        *,
        ce_weight: CEWeight = 0.1,
        compare: Compare = "sum",
        ce_of: CEOf = "sum",
    ) -> None:
        super().__init__()
        self.network = network
        self.earlier = frozen(earlier)
        self.teacher = Frozen.of(teacher)
        self.term = term
        self.ce_weight = ce_weight
        self.compare = compare
        self.ce_of = ce_of

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        network = as_output(self.network(batch.x))
        teacher = self.teacher(batch.x) if batch.taught is None else Output(batch.taught)
        before = sum_before(self.earlier, batch.x)
        student, target = sides(network, teacher.detach(), before, self.compare)
        labelled = labelled_logits(network, before, self.ce_of)
        return {
            "ce": self.ce_weight * cross_entropy(labelled, batch.y),
            "kd": self.term.weight * self.term(student, target, batch),
        }  # Eq. 3

    @property
    def reads_logits_of(self) -> Frozen | None:
        return self.teacher if self.term.logits_only else None

    @property
    def label_readers(self) -> tuple[str, ...]:
        return with_cross_entropy("ce_weight", self.ce_weight, [self.term])

    def predictors(self) -> dict[str, nn.Module]:
        return sums_of(self.earlier, self.network)

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return summed_readouts(self.earlier, as_output(self.network(x)).logits, x)


class MutualResKD(Method):
    """One stage of ResKD via DML: in the teacher's place is a network that learns, too (Li et al., 2021).

    Both networks have the loss of :class:`ResKD`, each with the other's prediction as its constant target.

    Args:
        network: R_i, or S_0 if nothing is earlier.
        peer: learns beside it.
        term: L_(T-S), in both directions.
        earlier: S_0, R_1 ... R_(i-1), frozen (plain modules are copied and frozen).

    Raises:
        ValueError: as :class:`ResKD`.
    """

    @checked
    def __init__(
        self,
        network: nn.Module,
        peer: nn.Module,
        term: Term,
        earlier: Sequence[nn.Module] = (),
        *,
        ce_weight: CEWeight = 0.1,
        compare: Compare = "sum",
        ce_of: CEOf = "sum",
    ) -> None:
        super().__init__()
        self.network = network
        self.earlier = frozen(earlier)
        self.peer = peer
        self.term = term
        self.ce_weight = ce_weight
        self.compare = compare
        self.ce_of = ce_of

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        network, peer = as_output(self.network(batch.x)), as_output(self.peer(batch.x))
        before = sum_before(self.earlier, batch.x)
        student, other = sides(network, peer, before, self.compare)
        labelled = labelled_logits(network, before, self.ce_of)
        return {
            "ce": self.ce_weight * cross_entropy(labelled, batch.y),
            "kd": self.term.weight * self.term(student, other.detach(), batch),
            "ce_peer": self.ce_weight * cross_entropy(peer.logits, batch.y),
            "kd_peer": self.term.weight * self.term(other, student.detach(), batch),
        }

    @property
    def label_readers(self) -> tuple[str, ...]:
        return with_cross_entropy("ce_weight", self.ce_weight, [self.term])

    def predictors(self) -> dict[str, nn.Module]:
        return {**sums_of(self.earlier, self.network), "peer": Classifier(self.peer)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        own = summed_readouts(self.earlier, as_output(self.network(x)).logits, x)
        return {**own, "peer": as_output(self.peer(x)).logits}


class EnsembleMember(Method):
    """A member of an ensemble, trained by a method of its own; deployed is the sum of all members so far.

    The ensemble of table 2 of ResKD (Li et al., 2021).

    Args:
        method: trains the member, which is its first predictor.
        earlier: the members before it, frozen (plain modules are copied and frozen).
    """

    def __init__(self, method: Method, earlier: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.method = method
        self.earlier = frozen(earlier)
        self.second_view, self.turns, self.rests = method.second_view, method.turns, method.rests

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.method(batch, turn)
        return losses

    @property
    def reads_logits_of(self) -> Frozen | None:
        return self.method.reads_logits_of

    @property
    def label_readers(self) -> tuple[str, ...]:
        return self.method.label_readers

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return self.method.groups()

    def after_step(self) -> None:
        self.method.after_step()

    def predictors(self) -> dict[str, nn.Module]:
        return sums_of(self.earlier, next(iter(self.method.predictors().values())))

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return summed_readouts(self.earlier, next(iter(self.method.readouts(x).values())), x)


# ---------------------------------------------------------------- what a stage compares


def sides(
    network: Output, teacher: Output, before: Tensor | None, compare: Literal["sum", "residual"]
) -> tuple[Output, Output]:
    """What the term compares: S_(i-1) + R_i and T, or R_i and T - S_(i-1).

    Args:
        network: of R_i.
        teacher: of T.
        before: logits of S_(i-1), None in stage 0.
        compare: which of the two.
    """
    if before is None:
        return network, teacher
    if compare == "sum":
        return network._replace(logits=running_sums([before, network.logits])[-1]), teacher  # Eq. 5
    return network, teacher._replace(logits=residual(teacher.logits, before))  # Eq. 4


def labelled_logits(network: Output, before: Tensor | None, ce_of: Literal["sum", "residual"]) -> Tensor:
    """The logits that the cross-entropy reads, (B, K), see :func:`sides`."""
    if before is None or ce_of == "residual":
        return network.logits
    return running_sums([before, network.logits])[-1]

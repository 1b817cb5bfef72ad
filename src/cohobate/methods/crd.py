"""CRD: a contrastive loss between the student's and the teacher's features of the training images.

Tian, Krishnan, Isola: Contrastive Representation Distillation, ICLR 2020.

    S, T        pooled features of student and teacher
    g^S, g^T    student_embedding, teacher_embedding    linear, then of length 1; both are trained
    N           negatives       images that an image is contrasted with
    M           size            images of the training set
    tau         temperature     of the critic h
    (none)      log_z           log Z, Z the scale of e^(g^T(T)' g^S(S) / tau)

Choices.
    Critic: eq. 19 with its exponential divided by Z, a constant for each direction: M times the mean of the
        exponentials over the first batch (of all ranks), as in the public code; the paper does not print it.
        Where the temperature changes over the run, Z, which depends on it, is computed from each batch.
    Directions: the student's embeddings are contrasted with the memory of the teacher's, and the teacher's
        with the memory of the student's; the two losses are summed.
    Memory: a moving average of the embedding of each image, for each network (``memory_momentum``), scaled
        to length 1 after each update; initialised uniformly in +-sqrt(3 / dim). The positive of an image is
        its own entry before this step. The memory is updated in ``forward``, in training mode only.
    Negatives: drawn uniformly from the images of all other classes, with replacement, anew for each image
        and step, the same for both directions. The public code draws them without replacement.
    Settings of the public code: weight 0.8 beside a cross-entropy of weight 1; 16384 negatives,
        temperature 0.07, memory_momentum 0.5, 128 dimensions.
    Several processes: images and embeddings of all ranks update the memory of each, so that it is the
        same everywhere, bit for bit. The images of one step, over all ranks, must be distinct.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Batch, Between, Output, Term, float32
from ..core.courses import Course, now
from ..core.options import Changing, Doc, Ge, Gt, Lt, Weight, checked
from .matching import Pair, pooled_pair
from .ranks import of_all_ranks

EXACT = 2**18
"""Rows up to which float32 draws each with equal probability, to 2 percent; above, float64 draws."""


@float32
def embed(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Linear, then of length 1: (B, C) -> (B, dim)."""
    return F.normalize(F.linear(features, weight, bias), dim=1)


def draw_negatives(first: Tensor, size: Tensor, total: int, negatives: int) -> Tensor:
    """Rows for each anchor, uniform over those outside of its own class, with replacement.

    Args:
        first: (B,) first row of the anchor's class; the rows of a class are contiguous.
        size: (B,) number of rows of the anchor's class, less than ``total``.
        total: rows of all classes.
        negatives: rows to draw for each anchor.

    Returns:
        (B, negatives) rows.
    """
    dtype = torch.float32 if total <= EXACT else torch.float64
    share = torch.rand(len(first), negatives, device=first.device, dtype=dtype)
    row = (share * (total - size)[:, None]).long()
    return torch.where(row >= first[:, None], row + size[:, None], row)


@float32
def similarities(embedding: Tensor, bank: Tensor, rows: Tensor, temperature: float | Tensor) -> Tensor:
    """Inner products over the temperature: (B, dim), (M, dim), (B, R) rows -> (B, R).

    The products with all rows are computed, then those with ``rows`` are gathered: for 50,000 rows and 64
    anchors with 16,385 rows each this takes a tenth of the time of gathering the embeddings, (B, R, dim).
    """
    return F.linear(embedding / temperature, bank).gather(1, rows)


@float32
def log_scale(scores: Tensor, size: int) -> Tensor:
    """log Z, Z = M times the mean of e^score; ()."""
    return torch.logsumexp(scores, dim=(0, 1)) + math.log(size / scores.numel())


@float32
def critic_loss(scores: Tensor, log_z: Tensor, size: int) -> Tensor:
    """-L_critic, mean over the anchors.

    Args:
        scores: (B, 1 + N) similarities over the temperature, the positive first.
        log_z: ().
        size: M.
    """
    odds = _log_odds(scores, log_z, size)
    log_likelihood = F.logsigmoid(odds[:, 0]).sum() + F.logsigmoid(-odds[:, 1:]).sum()  # Eq. 10
    return -log_likelihood / len(scores)


@float32
def critic_gradient(
    scores: Tensor, log_z: Tensor, bank: Tensor, rows: Tensor, temperature: float | Tensor
) -> Tensor:
    """Derivative of :func:`critic_loss` of :func:`similarities` with respect to the embedding, (B, dim)."""
    slope = _log_odds(scores, log_z, len(bank)).sigmoid()  # h, less 1 for the positive
    slope[:, 0] -= 1
    # A row that is drawn twice has equal slopes, so the sum does not depend on the order of the additions.
    slopes = scores.new_zeros(len(scores), len(bank)).scatter_add_(1, rows, slope)
    return slopes @ bank / (temperature * len(scores))


def _log_odds(scores: Tensor, log_z: Tensor, size: int) -> Tensor:
    negatives = scores.shape[1] - 1
    return scores - (log_z + math.log(negatives / size))  # Eq. 19: h = sigmoid(odds)


@float32
def moved(old: Tensor, new: Tensor, momentum: float) -> Tensor:
    """Moving average of rows of a memory and new embeddings, (B, dim) each, scaled to length 1."""
    return F.normalize(momentum * old + (1 - momentum) * new, dim=1)


class CRD(Term):
    """Contrastive loss over a memory of all training images (Tian et al., 2020).

    Contrastive distillation of the pooled features, with a memory of the whole training set.
    The memory is part of the state: 2 x M x dim numbers in each checkpoint.

    Args:
        student_dim: features of the student, D of its pooled (B, D).
        teacher_dim: of the teacher.
        labels: (M,) ids of the training set; row i is the image of ``Batch.index`` i.

    Raises:
        ValueError: an option is out of range, or the labels are of fewer than two classes.
    """

    student_bank: Tensor
    teacher_bank: Tensor
    log_z: Tensor
    begun: Tensor
    place: Tensor
    first: Tensor
    size: Tensor

    @checked
    def __init__(
        self,
        student_dim: int,
        teacher_dim: int,
        labels: Tensor,
        *,
        dim: Annotated[int, Ge(1), Doc("Dimensions of the space that both networks are embedded in.")] = 128,
        negatives: Annotated[
            int, Ge(1), Doc("N, number of images of other classes that are drawn for each image.")
        ] = 16384,
        temperature: Annotated[
            float | str,
            Changing(Gt(0)),
            Doc("tau, temperature of the critic; 0.1..0.05 changes it linearly over the run."),
        ] = 0.07,
        memory_momentum: Annotated[
            float, Ge(0), Lt(1), Doc("Share of the old embedding in each update of the memory.")
        ] = 0.5,
        weight: Weight = 0.8,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.remembers = len(labels)
        self.negatives = negatives
        self.temperature = Course.of(temperature)
        self.memory_momentum = memory_momentum
        self.student_embedding = nn.Linear(student_dim, dim)
        self.teacher_embedding = nn.Linear(teacher_dim, dim)
        self._sort(labels)
        reach = math.sqrt(3 / dim)
        self.register_buffer("student_bank", torch.empty(len(labels), dim).uniform_(-reach, reach))
        self.register_buffer("teacher_bank", torch.empty(len(labels), dim).uniform_(-reach, reach))
        self.register_buffer("log_z", torch.zeros(2))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    @classmethod
    def between(cls, networks: Between, **options: Any) -> Self:
        student, teacher = pooled_pair(networks.student, networks.teacher, "crd")
        return cls(student.shape[1], teacher.shape[1], networks.labels, **options)

    def _sort(self, labels: Tensor) -> None:
        """Assign each image a row of the banks, where the images of a class are contiguous."""
        if labels.ndim != 1 or labels.is_floating_point():
            raise ValueError(
                f"CRD needs the ids of the training set, whole numbers of shape (M,), got {labels.dtype} of "
                f"shape {tuple(labels.shape)}"
            )
        classes, own, counts = torch.unique(labels, return_inverse=True, return_counts=True)
        if len(classes) < 2:
            raise ValueError(
                f"CRD contrasts an image with those of other classes, but the {len(labels)} labels are of "
                f"{len(classes)} class(es); it needs at least 2"
            )
        # These follow from the labels, so they are not saved.
        self.register_buffer("place", own.argsort(stable=True).argsort(), persistent=False)
        self.register_buffer("first", (counts.cumsum(0) - counts)[own], persistent=False)
        self.register_buffer("size", counts[own], persistent=False)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        ours, theirs = pooled_pair(student, teacher, "CRD")
        index = batch.rows("CRD")
        self._require(ours, theirs, index)
        embeddings = (
            embed(ours, self.student_embedding.weight, self.student_embedding.bias),
            embed(theirs.detach(), self.teacher_embedding.weight, self.teacher_embedding.bias),
        )
        rows = self._rows(index)
        banks = self.teacher_bank, self.student_bank
        temperature = now(self.temperature, batch, "the temperature of CRD")
        with torch.no_grad():
            scores = [similarities(e, b, rows, temperature) for e, b in zip(embeddings, banks, strict=True)]
            log_z = self._log_z(scores)
        both = zip(embeddings, banks, scores, log_z.unbind(), strict=True)
        losses = [self._loss(*of, rows, temperature) for of in both]
        if self.training:
            self._remember(index, embeddings, log_z)
        return torch.stack(losses).sum()

    def _loss(
        self,
        embedding: Tensor,
        bank: Tensor,
        scores: Tensor,
        log_z: Tensor,
        rows: Tensor,
        temperature: float | Tensor,
    ) -> Tensor:
        """The loss of one direction, with its derivative.

        The derivative is computed here because the banks are updated before the backward pass: autograd
        would need a copy of each bank, and inductor (of torch 2.11 and 2.13) omits that copy and reads
        the updated banks.
        """
        with torch.no_grad():
            value = critic_loss(scores, log_z, len(bank))
            gradient = critic_gradient(scores, log_z, bank, rows, temperature)
        return value + (gradient * (embedding - embedding.detach())).sum()

    def _require(self, ours: Tensor, theirs: Tensor, index: Tensor) -> None:
        for name, features, layer in (
            ("student", ours, self.student_embedding),
            ("teacher", theirs, self.teacher_embedding),
        ):
            if features.shape != (len(index), layer.in_features):
                raise ValueError(
                    f"CRD: the {name}'s pooled features {tuple(features.shape)} are not ({len(index)}, "
                    f"{layer.in_features}), images of Batch.index and {name}_dim; give CRD the {name}_dim "
                    "of this network"
                )

    def _rows(self, index: Tensor) -> Tensor:
        """(B, 1 + N) rows of the banks: the image's own row, then those of its negatives."""
        drawn = draw_negatives(self.first[index], self.size[index], len(self.place), self.negatives)
        return torch.cat([self.place[index][:, None], drawn], dim=1)

    def _log_z(self, scores: list[Tensor]) -> Tensor:
        """log Z of both directions, (2,): from the first batch, then constant at a constant temperature."""
        here = torch.stack([log_scale(s, len(self.place)) for s in scores])
        ranks = of_all_ranks(here[None])
        here = torch.logsumexp(ranks, dim=0) - math.log(len(ranks))
        # Z is a mean of e^(similarity / tau), so it changes with tau.
        return here if isinstance(self.temperature, Course) else torch.where(self.begun, self.log_z, here)

    @torch.no_grad()
    def _remember(self, index: Tensor, embeddings: Pair, log_z: Tensor) -> None:
        self.log_z.copy_(log_z)
        self.begun.fill_(True)
        rows = self.place[of_all_ranks(index)]
        for bank, new in zip((self.student_bank, self.teacher_bank), embeddings, strict=True):
            mean = moved(bank[rows], of_all_ranks(new), self.memory_momentum)
            bank.index_copy_(0, rows, mean.to(bank.dtype))

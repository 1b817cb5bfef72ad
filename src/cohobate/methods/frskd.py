"""FRSKD: a self-teacher that reads the network's feature maps and teaches it refined ones.

Ji, Shin, Hwang, Park, Moon: Refine Myself by Teaching Myself: Feature Refinement via Self-Knowledge
Distillation, CVPR 2021.

    F_i, f_c    student         feature maps and logits of the classifier network
    T_i, f_t    teacher         refined feature maps and logits of the self-teacher (models/dense)
    K           temperature
    alpha       alpha           weight of the soft labels
    beta        beta            weight of the refined feature maps
    phi         attention_map   (methods/at.py)

Choices.
    Gradients: the self-teacher's outputs are constants in the KD and feature terms. The self-teacher is
        trained by its own cross-entropy, whose gradient also flows into the backbone, since the maps that it
        reads are not detached. Both as in the authors' code; the paper does not mention the second.
    Eq. 3: the mean over batch and positions of the squared difference of two attention maps, summed over
        stages (``at``), as in the authors' code, to which the printed beta belongs. ``at_norm`` is the
        printed form, the norm of the difference, averaged over the batch; it is orders of magnitude larger.
    Eq. 4: K^2 KL(self-teacher || classifier), as in that code. ``soft_labels="paper"`` is the printed
        KL(classifier || self-teacher), without K^2.
    Table 5: FitNet's hint at every stage (:class:`cohobate.methods.fitnet.Hints`), or the overhaul of feature
        distillation with the margins of the self-teacher's initial batch norms, as in that code.
    Rise: ``start`` is the share of the run without distillation (warm-up), ``ramp`` the share after it
        over which both weights rise by exp(-5 (1 - t)^2). None for classification; 40 and 20 of 60 epochs
        for segmentation.
    Masks: the KL is the mean over the pixels that the mask does not ignore, at the size of the image; in the
        authors' code over all, ignored ones too. Whole feature maps are compared. Section 4.1 has K = 4 for
        all experiments, that code K = 1 for segmentation, which is the default there (recipes/frskd.py).
    FRSKD + SLA: :mod:`cohobate.methods.frskd_sla`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from ..core import Batch, Classifier, Method, Output, Term, as_output, cross_entropy, float32, resized
from ..core.courses import Course, now
from ..core.options import Doc, Ge, Le, Temperature, checked
from .at import attention_map
from .kd import softened_kl
from .matching import stage_pairs, to_common_size
from .one import ramp_up

SoftLabels = Literal["code", "paper"]


@float32
def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Eq. 3 of one stage as printed: the norm of the difference of two attention maps, mean over the batch.

    Args:
        student: (B, C, H, W).
        teacher: (B, D, H, W); the caller detaches it.
    """
    difference = attention_map(student) - attention_map(teacher)
    distance: Tensor = torch.linalg.vector_norm(difference, dim=1)
    return distance.mean()  # Eq. 3


@float32
def printed_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor,
    kept: Tensor | None = None,
) -> Tensor:
    """Eq. 4 as printed: KL(classifier || self-teacher) at a temperature; the caller detaches the teacher.

    Args:
        student_logits: (B, K) or (B, K, H, W).
        teacher_logits: the same shape.
        temperature: K > 0.
        kept: (B, H, W), the positions that count (:func:`.kd.softened_kl`).
    """
    kl = softened_kl(teacher_logits, student_logits, temperature, kept)
    return kl / temperature**2  # Eq. 4


class AttentionNorm(Term):
    """Eq. 3 as printed, summed over the stages."""

    reads_labels = False

    @checked
    def __init__(
        self, *, weight: Annotated[float, Ge(0), Doc("beta of eq. 5, weight of the feature term.")] = 0.1
    ) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        pairs = stage_pairs(student, teacher.detach(), "FRSKD")
        return torch.stack([attention_distance(*to_common_size(*pair)) for pair in pairs]).sum()  # Eq. 3


def refined(self_teacher: nn.Module, output: Output) -> Output:
    """What a self-teacher makes of a network's output; its logits at the size of the network's.

    Raises:
        ValueError: one of the two predicts every pixel, the other whole images.
    """
    teacher = as_output(self_teacher(output.stages))
    if teacher.logits.dim() != output.logits.dim():
        raise ValueError(
            f"FRSKD: logits {tuple(output.logits.shape)} of the network and {tuple(teacher.logits.shape)} of "
            "the self-teacher; make it by DenseSelfTeacher.of for a network that predicts every pixel, by "
            "SelfTeacher.of for one that predicts whole images"
        )
    return teacher._replace(logits=resized(teacher.logits, output.logits.shape[2:]))


class Refined(nn.Module):
    """Images -> logits of the self-teacher on a network."""

    def __init__(self, network: nn.Module, self_teacher: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.self_teacher = self_teacher

    def forward(self, x: Tensor) -> Tensor:
        return refined(self.self_teacher, as_output(self.network(x))).logits


class FRSKD(Method):
    """A self-teacher on the network's feature maps gives refined maps and soft labels (Ji et al., 2021).

    Classifier and self-teacher learn from the labels, the classifier from its self-teacher too.
    Terms: ``ce``, ``ce_self_teacher``, ``kd`` and, with a feature term, ``feature``.

    Args:
        network: the classifier; its outputs have stages.
        self_teacher: stages of the network -> Output with refined stages; logits of pixels, (B, K, h, w),
            are enlarged to the size of the network's.
        feature: compares the stages of both, its ``weight`` is beta; None is FRSKD without features.

    Raises:
        ValueError: an option is out of range; when it runs, a network without stages, or a self-teacher
            whose logits are of pixels where the network's are of images, or the other way round.
    """

    @checked
    def __init__(
        self,
        network: nn.Module,
        self_teacher: nn.Module,
        feature: Term | None,
        *,
        alpha: Annotated[float, Ge(0), Doc("alpha of eq. 5, weight of the KL term.")] = 2.0,
        temperature: Temperature = 4.0,
        soft_labels: Annotated[
            SoftLabels,
            Doc(
                "Form of eq. 4: code, K^2 KL(self-teacher || classifier), as in the authors' code; paper, "
                "as printed: reversed and without K^2. K is the temperature."
            ),
        ] = "code",
        start: Annotated[
            float, Ge(0), Le(1), Doc("Share of the run during which alpha and beta are 0.")
        ] = 0.0,
        ramp: Annotated[
            float,
            Ge(0),
            Le(1),
            Doc("Share of the run, after --start, over which alpha and beta rise from 0."),
        ] = 0.0,
    ) -> None:
        super().__init__()
        if start + ramp > 1 + 1e-9:
            raise ValueError(
                f"start and ramp are shares of one run, at most 1 together, got {start:.4g} and {ramp:.4g}; "
                f"give ramp {1 - start:.9g} or less"
            )
        self.network = network
        self.self_teacher = self_teacher
        self.feature = feature
        self.alpha = alpha
        self.temperature = Course.of(temperature)
        self.soft_labels = soft_labels
        self.start = start
        self.ramp = ramp

    def outputs(self, x: Tensor) -> tuple[Output, Output]:
        """Outputs of the classifier, and of the self-teacher on its stages."""
        student = as_output(self.network(x))
        if not student.stages:
            raise ValueError(
                "FRSKD refines feature maps, but the network gives no stages; name its modules: "
                "cohobate.adapt(network, stages=[...])"
            )
        return student, refined(self.self_teacher, student)

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        student, teacher = self.outputs(batch.x)
        return {
            "ce": cross_entropy(student.logits, batch.y),
            "ce_self_teacher": cross_entropy(teacher.logits, batch.y),
            **self.distilled(student, teacher.detach(), batch),
        }  # Eq. 5

    def distilled(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """The terms that teach the classifier; the caller detaches the self-teacher."""
        divergence = softened_kl if self.soft_labels == "code" else printed_kl
        rise = self._rise(batch)
        kd = divergence(student.logits, teacher.logits, self.softness(batch), batch.kept)
        terms = {"kd": rise * self.alpha * kd}  # Eq. 4
        if self.feature is not None:
            terms["feature"] = rise * self.feature.weight * self.feature(student, teacher, batch)  # Eq. 3
        return terms

    def softness(self, batch: Batch) -> float | Tensor:
        """The temperature at this point of the run."""
        return now(self.temperature, batch, "the temperature of FRSKD")

    def _rise(self, batch: Batch) -> Tensor | float:
        """Factor of alpha and beta: 0 before the start, then up to 1."""
        if self.start == 0:
            return ramp_up(batch, self.ramp, "FRSKD")
        since = batch.elapsed("FRSKD starts later") - self.start
        rising = ramp_up(batch._replace(progress=since.clamp(min=0)), self.ramp, "FRSKD")
        return (since >= 0) * rising

    def predictors(self) -> dict[str, nn.Module]:
        return {
            "network": Classifier(self.network),
            "self_teacher": Refined(self.network, self.self_teacher),
        }

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        student, teacher = self.outputs(x)
        return {"network": student.logits, "self_teacher": teacher.logits}

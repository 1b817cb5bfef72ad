"""DeiT: a transformer whose distillation token learns from the teacher, and its class token from the labels.

Touvron, Cord, Douze, Massa, Sablayrolles, Jegou: Training data-efficient image transformers and
distillation through attention, ICML 2021.

    Z_s         two_heads()[0]      logits of the head on the class token
    (no symbol) two_heads()[1]      logits of the head on the distillation token
    Z_t, y_t                        the teacher's logits, and their argmax
    tau         temperature         of soft distillation
    lambda      share               of the teacher's loss: 1/2 in eq. 3 (hard), lambda in eq. 2 (soft)

    hard    1/2 CE(class head, y) + 1/2 CE(distillation head, y_t)    (eq. 3)
    soft    (1 - lambda) CE(class head, y) + lambda tau^2 KL(teacher || distillation head)    (eq. 2)

The paper's best teachers are convolutional networks (RegNetY); any network of the same classes will do.

Choices.
    Networks: those of timm whose head is split in training: they have ``head_dist``, ``forward_features``,
        ``forward_head``, and return two predictions where ``distilled_training`` is set. It is set during the
        loss alone, so the deployed network is timm's own.
    Deployed: the mean of the two heads' logits, as in the authors' code and timm's; the paper adds their
        softmax outputs, from which the predicted class differs rarely.
    Soft labels, label smoothing, mixed images: see hard_label.py.
    lambda = 0.1 and tau = 3 in soft distillation, the paper's usual values.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol, cast

from torch import Tensor, nn

from ..core import Batch, Classifier, Frozen, Method, as_output, cross_entropy
from ..core.courses import Course, now
from ..core.options import Doc, Ge, Le, Temperature, checked
from .hard_label import hard_label_loss
from .kd import softened_kl

NETWORKS = "timm:deit_tiny_distilled_patch16_224, timm:deit_small_distilled_patch16_224"
"""Some networks that have a distillation token."""

PARTS = ("head_dist", "distilled_training", "forward_features", "forward_head")


class Distilled(Protocol):
    """A network whose two heads can be read, as timm's have them."""

    training: bool
    distilled_training: bool

    def forward_features(self, x: Tensor) -> Any: ...

    def forward_head(self, x: Any) -> Any: ...


def distilled(student: nn.Module) -> Distilled:
    """The network with a distillation head: the student itself, or what its adapter holds.

    Raises:
        ValueError: there is none.
    """
    for module in student.modules():
        if all(hasattr(module, part) for part in PARTS):
            return cast(Distilled, module)
    name = type(getattr(student, "network", student)).__name__
    raise ValueError(
        f"deit needs a student with a distillation token, which {name} does not have; take one that has: "
        f"{NETWORKS} ..., or the method hard, which takes any student"
    )


def two_heads(network: Distilled, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the class head and of the distillation head, (B, K) each.

    Raises:
        ValueError: the network is in evaluation mode, in which it returns their mean.
    """
    before = network.distilled_training
    network.distilled_training = True
    heads = network.forward_head(network.forward_features(x))
    network.distilled_training = before
    if isinstance(heads, Tensor):
        raise ValueError(f"{type(network).__name__} returns one prediction; call train() before the loss")
    one, two = heads
    return one, two


class DeiT(Method):
    """A distillation token learns from the teacher, the class token from the labels (Touvron et al., 2021).

    Terms: ``ce`` of the class head, ``distillation`` of the other head. Both heads' mean is deployed.

    Args:
        student: a network with a distillation token, such as timm's ``deit_tiny_distilled_patch16_224``.
        teacher: frozen (a plain module is copied and frozen).

    Raises:
        ValueError: the student has no distillation token, or an option is out of range.
    """

    @checked
    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        target: Annotated[
            Literal["hard", "soft"],
            Doc("What the distillation token learns: the class that the teacher predicts, or its softmax."),
        ] = "hard",
        share: Annotated[
            float | None,
            Ge(0),
            Le(1),
            Doc("Share of the teacher's loss; the labels have the rest. None: 0.5 for hard, 0.1 for soft."),
        ] = None,
        temperature: Temperature = 3.0,
    ) -> None:
        super().__init__()
        distilled(student)
        self.student = student
        self.teacher = Frozen.of(teacher)
        self.target = target
        self.share = {"hard": 0.5, "soft": 0.1}[target] if share is None else share
        self.temperature = Course.of(temperature)

    @property
    def reads_logits_of(self) -> Frozen:
        return self.teacher

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        taught = (self.teacher(batch.x).logits if batch.taught is None else batch.taught).detach()
        labelled, distilling = two_heads(distilled(self.student), batch.x)
        return {
            "ce": (1 - self.share) * cross_entropy(labelled, batch.y),
            "distillation": self.share * self._distilled(distilling, taught, batch),
        }

    def _distilled(self, logits: Tensor, taught: Tensor, batch: Batch) -> Tensor:
        if self.target == "hard":
            return hard_label_loss(logits, taught)  # Eq. 3
        temperature = now(self.temperature, batch, "the temperature of DeiT")
        return softened_kl(logits, taught, temperature=temperature)  # Eq. 2

    def predictors(self) -> dict[str, nn.Module]:
        return {"student": Classifier(self.student)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"student": as_output(self.student(x)).logits}

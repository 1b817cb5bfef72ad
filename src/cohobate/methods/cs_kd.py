"""CS-KD: the prediction for another image of the class is the soft label.

Yun, Park, Lee, Shin: Regularizing Class-wise Predictions via Self-knowledge Distillation, CVPR 2020.

    x           batch.x         an image
    x'          batch.views[1]  another image of its class
    P(.|x; T)   logits          softened prediction
    lambda      weight          of the class-wise term
    T           temperature

Choices.
    Loss: cross-entropy of x alone, plus lambda T^2 KL(P(.|x') || P(.|x)); x' is a constant and gets no
        gradient, as printed. lambda is 1, and 3 for the fine-grained data sets, in the commands of the
        authors' code; T is 4 there.
    Batch norm: the authors' code passes x' without gradient but in training mode, after x: the running
        statistics move twice a step, and are those of both images. This is the default: x' is drawn as
        x is, so what is estimated is the same. ``statistics="first"``: the pass of x' leaves them alone.
        Either way each pass is normalised by its own batch.
    Pairs: the loader draws x', evenly from the other images of the class; an image alone in its class is
        its own pair (and another augmentation of itself). The authors' sampler may draw x itself as well.
    Batch size: counts x alone, as there.
    Reference settings: SGD without Nesterov's form, weight decay 1e-4.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from ..core import Batch, Classifier, Method, as_output, cross_entropy, run
from ..core.options import Doc, Ge, Temperature, checked
from .ddgsd import other_view
from .kd import softened_kl


class CSKD(Method):
    """The prediction for another image of the same class is the target (Yun et al., 2020).

    CE(x) + lambda T^2 KL(P(.|x') || P(.|x)), x' another image of the class of x.
    Terms: ``ce`` and ``kl``.

    Args:
        network: images -> Output or logits.

    Raises:
        ValueError: an option is out of range; when it runs, no second view.
    """

    second_view = "classmate"

    @checked
    def __init__(
        self,
        network: nn.Module,
        *,
        weight: Annotated[
            float,
            Ge(0),
            Doc(
                "lambda, weight of the KL term between two images of a class; the paper has 3 for "
                "fine-grained classes."
            ),
        ] = 1.0,
        temperature: Temperature = 4.0,
        statistics: Annotated[
            Literal["both", "first"],
            Doc("Images of a pair that update the batch-norm statistics: both, or the first alone."),
        ] = "both",
    ) -> None:
        super().__init__()
        self.network = network
        self.weight = weight
        self.temperature = temperature
        self.statistics = statistics

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        classmates = other_view(batch, "CSKD", "other images of the same classes")
        # First, because autocast would keep weights that were cast without gradient.
        logits = as_output(self.network(batch.x)).logits
        with torch.no_grad():
            target = run(self.network, classmates, track=self.statistics == "both").logits
        kl = softened_kl(logits, target, temperature=self.temperature)
        return {"ce": cross_entropy(logits, batch.y), "kl": self.weight * kl}

    def predictors(self) -> dict[str, nn.Module]:
        return {"network": Classifier(self.network)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"network": as_output(self.network(x)).logits}

"""CS-KD: the soft label of an image is the prediction for another image of its class.

Yun, Park, Lee, Shin: Regularizing Class-wise Predictions via Self-knowledge Distillation, CVPR 2020.

    x           batch.x         an image
    x'          batch.views[1]  another image of its class
    P(.|x; T)   logits          softened prediction
    lambda      weight          of the class-wise term
    T           temperature

Choices.
    Loss: cross-entropy of x only, plus lambda T^2 KL(P(.|x') || P(.|x)), where P(.|x') is a constant, as
        printed. In the commands of the authors' code lambda is 1, and 3 for the fine-grained data sets; T is
        4.
    Batch norm: the authors' code passes x' in training mode, without gradient, after x, so the running
        statistics are updated twice in a step, by both images. This is the default; x and x' have the same
        distribution. ``statistics="first"``: the pass of x' does not update them. Each pass is normalised
        by the statistics of its own batch in both cases.
    Pairs: the loader draws x' uniformly from the other images of the class; the only image of a class is
        paired with another augmentation of itself. The authors' sampler may also draw x itself.
    Batch size: the number of images x, as in the authors' code.
    Reference settings: SGD without Nesterov's form, weight decay 1e-4.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from ..core import Batch, Classifier, Method, as_output, cross_entropy, run
from ..core.courses import Course, now
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
        self.temperature = Course.of(temperature)
        self.statistics = statistics

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        classmates = other_view(batch, "CSKD", "other images of the same classes")
        # This pass first: autocast would reuse the weights that the pass below casts without gradient.
        logits = as_output(self.network(batch.x)).logits
        with torch.no_grad():
            target = run(self.network, classmates, track=self.statistics == "both").logits
        temperature = now(self.temperature, batch, "the temperature of CS-KD")
        kl = softened_kl(logits, target, temperature=temperature)
        return {"ce": cross_entropy(logits, batch.y), "kl": self.weight * kl}

    def predictors(self) -> dict[str, nn.Module]:
        return {"network": Classifier(self.network)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"network": as_output(self.network(x)).logits}

"""Plain supervised training: the baseline that every gain is measured against."""

from __future__ import annotations

from torch import Tensor, nn

from ..core import Batch, Classifier, Method, as_output, cross_entropy


class Supervised(Method):
    """Cross-entropy alone, the baseline of all gains.

    Args:
        network: images -> Output or logits.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, turn: int = 0) -> dict[str, Tensor]:
        return {"ce": cross_entropy(as_output(self.network(batch.x)).logits, batch.y)}

    def predictors(self) -> dict[str, nn.Module]:
        return {"network": Classifier(self.network)}

    def readouts(self, x: Tensor) -> dict[str, Tensor]:
        return {"network": as_output(self.network(x)).logits}

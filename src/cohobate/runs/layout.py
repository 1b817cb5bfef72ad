"""The names of the files in a run's folder, which no other module spells out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class RunFolder(NamedTuple):
    """A run's folder; a phase's checkpoints lie in a folder of the phase's name.

    Attributes:
        path: of the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The method and the options of the run."""
        return self.path / "run.yaml"

    @property
    def provenance(self) -> Path:
        """Machine, time and versions of the run."""
        return self.path / "provenance.json"

    @property
    def metrics(self) -> Path:
        """A JSON line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def result(self) -> Path:
        """Sizes, costs and measurements; there only once the run has finished."""
        return self.path / "result.json"

    @property
    def failure(self) -> Path:
        """Why the run ended: its numbers were no longer finite. Gone once it is trained again."""
        return self.path / "failure.json"

    @property
    def deployed(self) -> Path:
        """The network to deploy, weights of the last epoch."""
        return self.path / "deployed.safetensors"

    @property
    def deployed_best(self) -> Path:
        """The same, weights of the best epoch on the validation split."""
        return self.path / "deployed-best.safetensors"

    @property
    def pictures(self) -> Path:
        """A few images of a run of segmentation, with their masks and what the deployed network names."""
        return self.path / "pictures.json"

    @property
    def adaptive(self) -> Path:
        """Sample-adaptive inference with the deployed sum, measured by ``cohobate evaluate --adaptive``."""
        return self.path / "adaptive.json"

    def tracked(self, tracker: str) -> Path:
        """The folder of what a tracker (``--track``) writes or remembers of the run."""
        return self.path / tracker

    @property
    def export(self) -> Path:
        """The folder of the files that ``cohobate export`` writes, unless it is told another."""
        return self.path / "export"

    @property
    def report(self) -> Path:
        """The page of the run."""
        return self.path / "report.html"

    @property
    def finished(self) -> bool:
        """Whether the run has finished."""
        return self.result.exists()


def weights_file(path: Path | str) -> Path:
    """A file of weights; of a run's folder the network that it deployed."""
    path = Path(path)
    return RunFolder(path).deployed if path.is_dir() else path

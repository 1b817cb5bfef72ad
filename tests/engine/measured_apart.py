"""Run by ``test_segmentation_measures.py`` in three processes, of which two have a batch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from cohobate.core import Batch
from cohobate.engine.distributed import process_group
from cohobate.engine.measures import classification, segmentation


class Share:
    """The batches of this process."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches[dist.get_rank() :: dist.get_world_size()]

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> object:
        return iter(self.batches[start:])


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    x, y = torch.load(folder / "scenes.pt", weights_only=True)
    dense = [Batch((x[i : i + 2],), y[i : i + 2]) for i in (0, 2)]
    flat = [Batch((batch.x.mean((2, 3)),), batch.y[:, 0, 0].clamp(min=0)) for batch in dense]
    with process_group(cpu):
        found = []
        for measures, batches in ((segmentation, dense), (classification, flat)):
            for peers in ((), ("a", "b")):
                of = measures.evaluate(lambda x: {"a": x, "b": -x}, Share(batches), cpu, peers=peers)
                found.append(of)
        (folder / f"{dist.get_rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

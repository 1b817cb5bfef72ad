"""Run by ``test_contract.py`` under torchrun: train every method of the zoo in two processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from dense_zoo import DENSE, trainer_of
from threads import group_threads
from zoo import ZOO, Case, seeded

from cohobate.engine.distributed import process_group


def check(case: Case, compiled: bool, folder: Path) -> dict[str, object]:
    """One epoch; ranks begin with different weights, and must end with the same."""
    method = seeded(case.make, seed=dist.get_rank())
    if compiled:
        torch._dynamo.reset()
        method.compile(fullgraph=True, dynamic=False, backend="aot_eager")
    running = trainer_of(case, method, folder, epochs=1, weight_decay=0.1)
    before = {k: v.detach().clone() for k, v in method.named_parameters()}
    running.run()
    differing = []
    for name, tensor in method.state_dict().items():
        others = [torch.empty_like(tensor) for _ in range(2)]
        dist.all_gather(others, tensor.contiguous())
        if not torch.equal(others[0], others[1]):
            differing.append(name)
    return {
        "world": dist.get_world_size(),
        "moved": any(not torch.equal(before[k], v) for k, v in method.named_parameters()),
        "differing": differing,
        "idle_kept": all(torch.equal(before[k], method.get_parameter(k)) for k in case.idle),
    }


COMPILED = (
    "kd",  # a frozen teacher
    "self_guidance",  # two passes of one network, gates that each process draws, statistics left alone
    "turns",  # networks that one turn does not reach, a parameter that none does
    "fitnet_stages, the first",  # layers that run and learn nothing; a term with statistics of its own
    "dml in turns",  # networks that learn in one turn and predict without gradient in the other
    "kd+at+crd",  # several terms, parameters in a term, a memory that the processes share
    "ffm_cd",  # a shared trunk, and a weight that all take from the first process
    "cs_kd",  # one network passed twice, the second time without gradient, both moving the statistics
    "kd of masks",  # sums over the pixels that each process keeps
    "cwd of masks",  # a softmax over them
    "frskd adapted",  # a traced network, a teacher on its stages that learns in the same step
)
"""Cases that are compiled too: one of each way in which gradients, buffers and ranks may meet."""


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with process_group(torch.device("cpu")):
        found = {
            f"{name} {how}": check(case, how == "compiled", folder / f"{number}-{how}")
            for number, (name, case) in enumerate({**ZOO, **DENSE}.items())
            for how in (("eager", "compiled") if name in COMPILED else ("eager",))
        }
        rank, inside = dist.get_rank(), group_threads()
    if rank == 0:
        (folder / "threads.json").write_text(json.dumps({"inside": inside, "after": group_threads()}))
        (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

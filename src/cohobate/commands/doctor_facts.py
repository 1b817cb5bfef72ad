"""The facts of a machine and of what is installed, as titled rows of text."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from ..config.linux import ROOT
from ..data.sets import SETS
from ..engine.machine import commit, cores, processor
from .doctor_advice import ISA_LIMITS, Facts, advice
from .doctor_hardware import Rows, amount, core_rows, device_rows, gpus, load, memory_rows, processor_rows
from .doctor_libraries import dependencies, extras
from .found import found_or_looked_for

VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    *ISA_LIMITS,
    "CC",
    "CXX",
    "HF_HUB_OFFLINE",
    "COHOBATE_TRACEBACK",
)
"""Of the environment, those that change how a training runs. None holds a secret."""

RUNS = Path("runs")
"""Where runs lie by default."""

TRIAL = "resnet8"
TRIAL_IMAGES = 16


def sections(data_root: Path) -> dict[str, Callable[[], Rows]]:
    """Title -> what finds out its rows; each may fail alone."""
    return {
        "cohobate": _cohobate,
        "libraries": dependencies,
        "torch": _torch,
        "devices": device_rows,
        "processor": processor_rows,
        "cores and threads": core_rows,
        "memory": memory_rows,
        "optional libraries": extras,
        "compilers": _compilers,
        "data sets": lambda: _data(data_root),
        "disk": lambda: _disk(data_root),
        f"a training step measured here ({TRIAL}, {TRIAL_IMAGES} images of 32 x 32)": _measured,
        "advice": lambda: advice(facts()),
    }


def facts() -> Facts:
    """What the advice depends on."""
    import torch

    return Facts(
        processor=processor(),
        cores=cores(),
        threads=torch.get_num_threads(),
        variables=_variables(),
        load=load(),
        gpus=gpus()[0],
        driver=(ROOT / "proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None,
        cuda=torch.version.cuda,
        mps=torch.backends.mps.is_available(),
        cxx=(_cxx(), shutil.which(_cxx()) is not None),
        c=_c() is not None,
        triton=find_spec("triton") is not None,
        headers=_headers().is_file(),
        shared=_free(ROOT / "dev/shm") if (ROOT / "dev/shm").is_dir() else None,
        disks={"the runs": _free(RUNS)},
    )


# ---------------------------------------------------------------- software


def _cohobate() -> Rows:
    try:
        own = version("cohobate")
    except PackageNotFoundError:
        own = "not installed, it runs from its source"
    rows = {
        "version": own,
        "commit": commit() or "none, it is installed",
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
    }
    return {**rows, **_variables()}


def _torch() -> Rows:
    import torch

    build = torch.__config__.show()
    onednn = re.search(r"MKL-DNN (v[\d.]+)", build)
    blas = re.search(r"BLAS_INFO=(\w+)", build)
    compiled = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip}
    devices = (f"{name} {number}" for name, number in compiled.items() if number)
    return {
        "version": torch.__version__,
        "built for": ", ".join(["CPU", *devices]),
        "oneDNN": onednn[1] if onednn else "none",
        "BLAS": blas[1] if blas else "unknown",
        "computes with": str(torch.backends.cpu.get_cpu_capability()),
    }


def _compilers() -> Rows:
    return {
        "C++": shutil.which(_cxx()) or f"none: looked for {_cxx()}",
        "C": _c() or "none: looked for CC, gcc and clang",
        "Python.h": "found" if _headers().is_file() else f"not in {_headers().parent}",
        "triton": "installed" if find_spec("triton") else "not installed; needed on a GPU only",
    }


def _cxx() -> str:
    """What inductor calls; it looks for no other."""
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")


def _c() -> str | None:
    """What Triton calls."""
    names = filter(None, (os.environ.get("CC"), "gcc", "clang"))
    return next(filter(None, map(shutil.which, names)), None)


def _headers() -> Path:
    return Path(sysconfig.get_paths()["include"]) / "Python.h"


def _variables() -> dict[str, str]:
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


# ---------------------------------------------------------------- data and disks


def _data(root: Path) -> Rows:
    where = root.absolute()
    rows = {"--data-root": f"{where}{'' if where.is_dir() else ', which is not there'}"}
    return {**rows, **{name: found_or_looked_for(name, where) for name in SETS}}


def _disk(data_root: Path) -> Rows:
    places = {"runs": RUNS, "data": data_root}
    shared = {"shared memory": ROOT / "dev/shm"} if (ROOT / "dev/shm").is_dir() else {}
    return {name: _room(place) for name, place in {**places, **shared}.items()}


def _room(place: Path) -> str:
    try:
        there = _existing(place)
    except OSError as error:
        return f"{place} cannot be looked at: {error.strerror}"
    free = f"{there}: {amount(shutil.disk_usage(there).free)} free"
    return f"{free}{'' if os.access(there, os.W_OK) else ', cannot be written'}"


def _free(place: Path) -> int | None:
    """Free bytes where a folder is, or would be made; None where nothing can be written."""
    there = _existing(place)
    return shutil.disk_usage(there).free if os.access(there, os.W_OK) else None


def _existing(place: Path) -> Path:
    """The folder itself, or the innermost one above it that is there."""
    whole = place.absolute()
    return next(each for each in (whole, *whole.parents) if each.is_dir())


# ---------------------------------------------------------------- measured


def _measured() -> Rows:
    """Milliseconds of forward and backward in each of the ways that ``--precision auto`` tries."""
    import torch

    from ..config.groups import Training
    from ..core import Batch
    from ..engine.distributed import pick_device
    from ..engine.probe import quick_look
    from ..methods.supervised import Supervised
    from ..models.build import build

    start, device = time.perf_counter(), pick_device("auto")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x, y = torch.randn(TRIAL_IMAGES, 3, 32, 32), torch.arange(TRIAL_IMAGES)
        method = Supervised(build(TRIAL, TRIAL_IMAGES))
    seconds = quick_look(method, Batch((x.to(device),), y.to(device)), Training())
    return {
        "on": str(device),
        **{name: f"{1000 * each:.1f} ms" for name, each in seconds.items()},
        "fastest": min(seconds, key=seconds.__getitem__),
        "took": f"{time.perf_counter() - start:.1f} s",
    }

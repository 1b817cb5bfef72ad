"""A network that somebody hands over, before it is opened: whether there is one. No torch here."""

from __future__ import annotations

from pathlib import Path

from ..config.objects import nearest_file
from ..config.text import shown
from ..runs.exported import ExportFolder
from ..runs.layout import RunFolder
from ..runs.reading import require_finished

EXPECTED = "the folder of a run, or a file deployed*.safetensors, model.safetensors or *.onnx that it gave"


def require_network(path: Path) -> None:
    """Check that a file is there, or the folder of a finished run.

    Raises:
        FileNotFoundError: nothing is there, or a folder that is not that of a run; that of an export names
            its files.
        RunError: the run has not finished.
    """
    if not path.exists():
        raise FileNotFoundError(f"{shown(path)} is not there{nearest_file(path)}; give {EXPECTED}")
    if not path.is_dir():
        return
    if not RunFolder(path).config.is_file():
        _refuse_export(path)
    require_finished(path)


def _refuse_export(path: Path) -> None:
    """Raise a FileNotFoundError if it is the folder of an export."""
    export = ExportFolder(path)
    files = [export.network("onnx"), export.network("safetensors"), export.int8]
    if found := [str(file) for file in files if file.is_file()]:
        raise FileNotFoundError(f"{shown(path)} holds exported files; give one of them: {', '.join(found)}")
    if export.cascade.is_file():
        raise FileNotFoundError(
            f"{shown(path)} holds a cascade: `python cascade.py images.npy` runs it there; or give its run, "
            "with --adaptive"
        )

"""A file of weights whose header has timm read another file: timm's loader would unpickle it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import timm
import torch
from handed_over import about, save_picture

import cohobate
from cohobate.cli import main
from cohobate.engine.checkpoint import State, write_state
from cohobate.models.build import build


class Malicious:
    """Runs code as it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("was_here", "w")


@pytest.mark.parametrize(
    "option",
    ["checkpoint_path=w.pth", " checkpoint_path =w.pth", "pretrained:pretrained_cfg_overlay={file: w.pth}"],
)
def test_it_is_opened_and_the_other_file_is_not_read(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    network = build("timm:test_resnet", 3, shape=about().shape)
    Path("w.pth").write_bytes(pickle.dumps(Malicious()))
    record = {**about().model_dump(mode="json"), "model": f"timm:test_resnet:{option}"}
    write_state(Path("net.safetensors"), State(network.state_dict(), record))
    save_picture("a.png")
    main(["predict", "net.safetensors", "a.png", "--workers", "0"])
    assert capsys.readouterr().out.startswith("path,label,probability\na.png,")
    x = torch.randn(2, *about().shape)
    torch.testing.assert_close(cohobate.load("net.safetensors")(x), network.eval()(x).logits)
    assert not Path("was_here").exists()


def test_every_option_of_first_weights_is_known() -> None:
    """timm's own signatures, so that a later release with another one is seen."""
    import inspect

    from timm.models import build_model_with_cfg

    from cohobate.models.registry import INITIAL

    built = {"model_name", "model_cls", "variant", "model_cfg", "feature_cfg", "kwargs_filter", "kwargs"}
    harmless = {"scriptable", "exportable", "no_jit"}
    for function in (timm.create_model, build_model_with_cfg):
        assert set(inspect.signature(function).parameters) <= {*INITIAL, *built, *harmless}

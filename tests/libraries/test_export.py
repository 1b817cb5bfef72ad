"""Weights and config.json of students of timm and torchvision, loaded by the bare libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from timm.data import create_transform, resolve_model_data_config
from timm.models._hub import save_config_for_hf
from torch import Tensor, nn

import cohobate
from cohobate.cli import main
from cohobate.commands import export_library
from cohobate.commands.export import export
from cohobate.commands.export_library import crop_share
from cohobate.data.views import MARGIN, Reading, margin_of, whole
from cohobate.engine.errors import RunError
from cohobate.inference.cascade_runner import Cascade
from cohobate.inference.deployable import Normalisation
from cohobate.models.hub import hub_config
from cohobate.models.registry import parse

CLASSES, SIDE = ["ant", "bee", "cat", "dog"], 32
TRAIN = ["--batch-size", "16", "--epochs", "1", "--lr", "0.01", "--device", "cpu", "--quiet", "--out", "run"]

DISTILLED = ":".join(
    [
        "timm:deit_tiny_distilled_patch16_224",
        *("img_size=32", "patch_size=8", "depth=2", "embed_dim=24", "num_heads=2"),
    ]
)
VIT = "timm:vit_tiny_patch16_224:img_size=32:patch_size=8:depth=2:embed_dim=24:num_heads=2"
TIMM = {
    "timm:test_resnet": [],
    "timm:test_efficientnet:drop_path_rate=0.1": [],
    "timm:mobilenetv3_small_050": [],
    VIT: [],
    f"{VIT}:dynamic_img_size=true": [],
    DISTILLED: ["--teacher", "resnet8"],
}
"""Student -> options of its method."""
TORCHVISION = {"mobilenet_v3_small": {}, "shufflenet_v2_x0_5": {}}


def images(count: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(256, (count, channels, SIDE, SIDE), dtype=torch.uint8, generator=generator)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trained(
    model: str, method: str = "baseline", options: list[str] | None = None, channels: int = 3
) -> Path:
    """A run of four classes."""
    x = images(64, channels).permute(0, 2, 3, 1).numpy()
    y = np.arange(64) % 4
    held = {"x": x, "y": y, "x_test": x[:16], "y_test": y[:16], "classes": np.array(CLASSES)}
    np.savez("mine.npz", **held)
    data = ["--data", "mine.npz", "--model", model, *(options or [])]
    main(["train", method, *data, *TRAIN])
    return Path("run")


def normalised(run: Path, channels: int = 3) -> Tensor:
    facts = json.loads(_header(run / "export" / "model.safetensors")["facts"])
    return Normalisation(facts["mean"], facts["std"]).of_bytes(images(24, channels), "normalised")


def _header(file: Path) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return opened.metadata()  # type: ignore[no-any-return]


def same_bits(network: nn.Module, run: Path, x: Tensor) -> None:
    with torch.no_grad():
        ours, theirs = cohobate.load(run)(x), network.eval()(x)
    assert torch.equal(ours, theirs)
    assert len(ours.unique()) > 8


def options_of(spec: str) -> dict[str, Any]:
    return parse(spec)[1]


# ---------------------------------------------------------------- timm


@pytest.mark.parametrize("spec", TIMM)
def test_timm_loads_the_weights_and_the_folder(spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(spec, "deit" if spec == DISTILLED else "baseline", TIMM[spec])
    capsys.readouterr()
    main(["export", "run", "--format", "safetensors"])
    name, options = spec.split(":")[1], options_of(spec)
    printed = capsys.readouterr().out
    assert f"loads into timm's own {name}, logits equal bit by bit" in printed
    folder, x = run / "export", normalised(run)
    assert _header(folder / "model.safetensors")["format"] == "pt"

    plain = timm.create_model(
        name, num_classes=4, checkpoint_path=str(folder / "model.safetensors"), **options
    )
    same_bits(plain, run, x)
    whole_folder = timm.create_model(f"local-dir:{folder}", pretrained=True)
    same_bits(whole_folder, run, x)
    assert whole_folder.pretrained_cfg["label_names"] == CLASSES
    assert whole_folder.num_classes == 4

    shown = resolve_model_data_config(whole_folder)
    facts = json.loads(_header(folder / "model.safetensors")["facts"])
    assert tuple(shown["input_size"]) == (3, SIDE, SIDE)
    assert (shown["mean"], shown["std"]) == (facts["mean"], facts["std"])
    assert (shown["interpolation"], shown["crop_pct"], shown["crop_mode"]) == ("bilinear", 1.0, "center")


def test_config_has_the_fields_of_timms_own(tmp_path: Path) -> None:
    """Of the same network, saved by timm itself."""
    cases: tuple[tuple[str, dict[str, Any]], ...] = (
        *(("test_resnet", {}), ("test_vit", {"img_size": 32}), ("test_efficientnet", {})),
        *(("test_mambaout", {}), ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "depth": 1})),
    )
    for name, more in cases:
        network = timm.create_model(name, num_classes=4, **more)
        save_config_for_hf(network, str(tmp_path / "theirs.json"), {"label_names": CLASSES})
        theirs = json.loads((tmp_path / "theirs.json").read_text())
        kept = {"mean": [0.5] * 3, "std": [0.2] * 3, "interpolation": "bilinear", "crop_pct": 1.0}
        ours = hub_config(network, name, more, CLASSES, (3, 32, 32), {**kept, "crop_mode": "center"})
        assert set(theirs) - set(ours) == set()
        assert set(ours) - set(theirs) == set()
        for key in ("architecture", "num_classes", "num_features", "label_names", "global_pool"):
            assert ours[key] == theirs[key], key
        for key in ("first_conv", "classifier", "fixed_input_size", "num_classes", "custom_load"):
            assert ours["pretrained_cfg"][key] == theirs["pretrained_cfg"][key], key
        size = theirs["model_args"].get("img_size")
        assert ours["model_args"].get("img_size") == (size and size[0]) == more.get("img_size")


def test_grey_images(capsys: pytest.CaptureFixture[str]) -> None:
    run = trained("timm:test_resnet", options=["--channels", "1"], channels=1)
    export(run, ["safetensors"])
    folder, x = run / "export", normalised(run, 1)
    same_bits(timm.create_model(f"local-dir:{folder}", pretrained=True), run, x)
    plain = timm.create_model(
        "test_resnet", num_classes=4, in_chans=1, checkpoint_path=str(folder / "model.safetensors")
    )
    same_bits(plain, run, x)
    assert json.loads((folder / "config.json").read_text())["pretrained_cfg"]["first_conv"] is None


def test_the_folder_is_fine_tuned_on_other_classes() -> None:
    run = trained("timm:test_resnet")
    export(run, ["safetensors"])
    network = timm.create_model(f"local-dir:{run / 'export'}", pretrained=True, num_classes=7)
    assert network(normalised(run)).shape == (24, 7)
    stem = load_file(run / "export" / "model.safetensors")["conv1.0.weight"]
    assert torch.equal(network.conv1[0].weight, stem)


def test_what_said_where_the_first_weights_were_from_is_left_out() -> None:
    network = timm.create_model("test_resnet", num_classes=4)
    options = {"checkpoint_path": "/home/me/x.pth", "pretrained": True, "drop_rate": 0.1}
    config = hub_config(network, "test_resnet.r160_in1k", options, CLASSES, (3, 32, 32), {})
    assert config["architecture"] == "test_resnet"
    assert config["model_args"] == {"num_classes": 4, "in_chans": 3, "drop_rate": 0.1}


def test_weights_that_the_library_reads_otherwise_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained("timm:test_resnet")
    made = export_library.library_network

    def other(*arguments: Any) -> nn.Module:
        return made(*arguments[:2], 5, *arguments[3:])

    def bolder(*arguments: Any) -> nn.Module:
        network = made(*arguments)
        network.fc.register_forward_hook(lambda module, inputs, logits: 2 * logits)
        return network

    for fault, said in (
        (other, "do not fit the network that timm:test_resnet is"),
        (bolder, "something else"),
    ):
        monkeypatch.setattr(export_library, "library_network", fault)
        with pytest.raises(RunError, match=said):
            export(run, ["safetensors"])
        assert not (run / "export").exists()


def test_other_forms_and_built_in_networks_have_no_config() -> None:
    run = trained("timm:test_resnet")
    export(run, ["pt2"])
    assert not (run / "export" / "config.json").exists()
    main(["train", "baseline", "--data", "mine.npz", "--model", "resnet8", *TRAIN[:-1], "own"])
    export("own", ["safetensors"])
    names = sorted(path.name for path in Path("own/export").iterdir())
    assert names == ["README.md", "export.json", "model.safetensors"]


# ---------------------------------------------------------------- how pictures are shown


def photo(width: int, height: int) -> Image.Image:
    """Smooth, as photographs are."""
    small = np.random.default_rng(0).integers(256, size=(6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (96, 96), (224, 224), (90, 120)])
@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_timms_transform_shows_what_the_run_was_shown(size: tuple[int, int], fit: Any) -> None:
    """Within the rounding of a pixel's place; padded, beside a background of another colour."""
    said = {"fit": fit, "shape": (3, *size), "mean": [0.5] * 3, "std": [0.5] * 3, "eval_resize": None}
    about: Any = type("About", (), said)
    shown = export_library._images(about)
    transform = create_transform(input_size=(3, *size), **shown, normalize=False)
    for width, height in ((300, 200), (131, 257), (400, 400)):
        picture = photo(width, height)
        ours = np.asarray(whole(picture, size, Reading(fit=fit, background="#808080")), np.float64)
        theirs = np.asarray(transform(picture), np.float64).transpose(1, 2, 0)
        assert theirs.shape == ours.shape
        difference = np.abs(ours - theirs).mean()
        assert difference < (0.01 if fit == "squash" else 5), (width, height, difference)
        if fit == "crop":  # were the whole picture shown, or a smaller part of it, they would not agree so
            other = create_transform(input_size=(3, *size), **{**shown, "crop_pct": 0.75}, normalize=False)
            assert difference < np.abs(ours - np.asarray(other(picture)).transpose(1, 2, 0)).mean() / 3


def test_crop_share_covers_as_many_pixels_at_every_size() -> None:
    for side in range(8, 600):
        covered = int(side / crop_share((side, side)) // 1)
        assert covered == round(side * margin_of((side, side)))
        for eval_resize in (side, side + 7, 2 * side):
            assert int(side / crop_share((side, side), eval_resize) // 1) == eval_resize
    assert crop_share((224, 224)) == 0.875 == 1 / MARGIN
    assert crop_share((64, 64)) == 1


def test_a_note_where_timm_shows_something_else(capsys: pytest.CaptureFixture[str]) -> None:
    about: Any = type("About", (), {"fit": "pad", "background": "white", "shape": (4, 8, 8)})
    assert export_library.notes(about) == [
        "timm pads a picture with the mean colour, the run with white; its transform is otherwise that of "
        "the run",
        "timm reads no pictures of 4 channels; give it arrays",
    ]


def test_a_run_on_padded_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("left", "right"):
        for number in range(12):
            file = Path("photos/train", label, f"{number}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            photo(40 + number, 30).save(file)
    pictures = ["--data", "photos", "--image-size", "32", "--fit", "pad", "--background", "black"]
    main(["train", "baseline", *pictures, "--model", "timm:test_resnet", "--batch-size", "8", *TRAIN[2:]])
    capsys.readouterr()
    main(["export", "run", "--format", "safetensors"])
    assert "note: timm pads a picture with the mean colour, the run with black" in capsys.readouterr().err
    config = Path("run/export/config.json")
    before = {path: path.read_bytes() for path in Path("run/export").iterdir()} | {config: b"{}"}
    config.write_text("{}")
    with pytest.raises(RunError, match=r"config\.json is no config\.json of timm"):
        cohobate.export("run", "safetensors")
    assert {path: path.read_bytes() for path in Path("run/export").iterdir()} == before
    config.unlink()
    cohobate.export("run", "safetensors")
    network = timm.create_model("local-dir:run/export", pretrained=True)
    shown = resolve_model_data_config(network)
    assert (shown["crop_mode"], shown["crop_pct"], shown["input_size"]) == ("border", 1.0, (3, 32, 32))
    assert network.pretrained_cfg["label_names"] == ["left", "right"]


# ---------------------------------------------------------------- torchvision


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_loads_the_weights(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(f"torchvision:{name}")
    capsys.readouterr()
    main(["export", "run", "--format", "safetensors"])
    assert f"loads into torchvision's own {name}, logits equal bit by bit" in capsys.readouterr().out
    plain = torchvision.models.get_model(name, num_classes=4)
    plain.load_state_dict(load_file(run / "export" / "model.safetensors"))
    same_bits(plain, run, normalised(run))
    assert not (run / "export" / "config.json").exists()


# ---------------------------------------------------------------- a sum of both


def test_a_cascade_of_both_libraries() -> None:
    member = "torchvision:shufflenet_v2_x0_5"
    run = trained("timm:test_resnet", "ensemble", ["--members", member, "--learn", "labels"])
    export(run, adaptive=True, threshold=0.5)
    cascade, x = Cascade(run / "export"), images(24)
    assert [stage["file"] for stage in cascade.about["stages"]] == ["stage-0.onnx", "stage-1.onnx"]
    assert cascade.about["members"] == ["timm:test_resnet", member]
    shown = Normalisation(cascade.about["mean"], cascade.about["std"]).of_bytes(x, "normalised")
    with torch.no_grad():
        theirs = cohobate.load(run, adaptive=True, threshold=0.5).exits(shown)
        sums = cohobate.load(run).network.prefixes(shown)  # type: ignore[operator]
    logits, exits = cascade.predict(x.numpy())
    assert exits.tolist() == theirs.exits.tolist()
    np.testing.assert_allclose(logits, theirs.logits, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(cascade.prefixes(x.numpy()), torch.stack(sums), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="no safetensors: leave --format out"):
        export(run, ["safetensors"], adaptive=True)
    export(run, ["safetensors"])  # a sum is no network of a library
    assert not (run / "export" / "config.json").exists()

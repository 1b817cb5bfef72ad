"""Files of NumPy arrays, and images of other numbers of channels than three."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cohobate
from cohobate.cli import main
from cohobate.data.arrays import arrays
from cohobate.data.dataset import Dataset, Images, channel_statistics
from cohobate.data.folder import load_folder
from cohobate.data.loaders import eval_loader, train_loader
from cohobate.data.sources import load_data
from cohobate.data.unlabelled import unlabelled
from cohobate.runs.deployed import read_deployed

CPU = torch.device("cpu")


def images(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)


def saved(path: Path, **held: Any) -> Path:
    np.savez(path, **held)
    return path


# ---------------------------------------------------------------- files


def test_classes_that_stand_twice_are_refused_and_those_without_images_are_said(tmp_path: Path) -> None:
    x, y = images(6, 6, 5, 3), np.array([0, 2, 0, 2, 0, 2])
    file = saved(tmp_path / "mine.npz", x=x, y=y, classes=np.array(["a", "b", "a"]))
    with pytest.raises(ValueError, match="class 'a' stands 2 times in classes"):
        load_data(str(file), tmp_path)
    saved(file, x=x, y=y)
    assert load_data(str(file), tmp_path).notes == ("1 of 3 classes have no training image",)


def test_a_run_is_evaluated_on_the_arrays_of_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    x, y = images(40, 8, 8, 3), np.arange(40) % 2
    for name, rows in {"all": slice(None), "some": slice(0, 20)}.items():
        saved(Path(f"{name}.npz"), x=x[rows], y=y[rows], x_test=x[rows], y_test=y[rows])
    main(["train", "baseline", "--data", "all.npz", "--epochs", "1", "--batch-size", "9", "--out", "run"])
    capsys.readouterr()
    main(["evaluate", "run", "--data", "some.npz"])
    said = " ".join(capsys.readouterr().out.split())
    assert "some.npz does not hold the images that the run was trained on" in said
    assert "20 images" in said


def test_a_file_is_a_data_set(tmp_path: Path) -> None:
    x, y = images(12, 6, 5, 3), np.arange(12) % 3
    held = {"x": x, "y": y, "x_val": x[:3], "y_val": y[:3], "x_test": x[3:9], "y_test": y[3:9]}
    file = saved(tmp_path / "mine.npz", **held, classes=np.array(["a", "b", "ç"]))
    dataset = load_data(str(file), tmp_path)
    assert (dataset.name, dataset.classes, dataset.shape) == ("mine", ("a", "b", "ç"), (3, 6, 5))
    assert (dataset.crop, dataset.flip, len(dataset.val)) == (0, False, 3)
    assert np.array_equal(dataset.train.x.numpy(), x)
    assert np.array_equal(dataset.test().x.numpy(), x[3:9])
    assert dataset.train.y.tolist() == y.tolist()


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"y": [0, 1]}, r"has no x; it holds y \(int64, \(2,\)\)"),
        ({}, "has no x and no y; it holds nothing"),
        ({"x": images(2, 4, 4), "y": [0, 1], "x_val": images(2, 4, 4)}, "has no y_val; it holds x "),
        ({"x": images(2, 4, 4), "y": [0, 1], "labels": [1]}, "holds labels; the keys that are read are x, y"),
        ({"x": images(2, 4, 4) / 255, "y": [0, 1]}, "x of train must be uint8, 0 to 255, got torch.float64"),
        ({"x": images(2, 4, 4), "y": [0.5, 1]}, "y of train must be integer ids"),
        ({"x": images(3, 4, 4), "y": [0, 1]}, "train has 3 images and 2 labels"),
        ({"x": images(2, 4, 4, 5), "y": [0, 1]}, r"got \(2, 4, 4, 5\); channels=C says which axis"),
        ({"x": images(2, 4, 4), "y": [0, 1], "classes": [1, 2]}, "classes must be names .* got int64"),
        (
            {"x": images(2, 4, 4), "y": np.array([0, None])},
            "y cannot be read: Object arrays cannot be loaded",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_named(held: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = saved(tmp_path / "bad.npz", **held)
    with pytest.raises(ValueError, match=rf"bad\.npz.*{message}"):
        load_data(str(file), tmp_path)


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    file = tmp_path / "bad.npz"
    with pytest.raises(FileNotFoundError, match=r"no file .*bad\.npz"):
        load_data(str(file), tmp_path)
    for content in (b"", b"junk"):
        file.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"bad\.npz is no archive of arrays, or cut short; write it by numpy.savez"
        ):
            load_data(str(file), tmp_path)
    with file.open("wb") as stream:
        np.save(stream, images(2, 4, 4))
    with pytest.raises(ValueError, match=r"bad\.npz is no archive of arrays"):
        load_data(str(file), tmp_path)
    saved(file, x=images(40, 8, 8), y=np.arange(40))
    file.write_bytes(file.read_bytes()[:1500])
    with pytest.raises(ValueError, match=r"bad\.npz is no archive of arrays, or cut short"):
        load_data(str(file), tmp_path)
    saved(file, x=images(40, 8, 8), y=np.arange(40))
    with pytest.raises(ValueError, match=r"bad are 8 x 8 pixels and only made smaller, got image_size 8 x 9"):
        load_data(str(file), tmp_path, image_size=(8, 9))
    halved = load_data(str(file), tmp_path, image_size=(4, 8))
    means = images(40, 8, 8).reshape(40, 4, 2, 8, -1).mean(2)
    assert halved.shape == (3, 4, 8)
    assert np.abs(halved.train.x.numpy() - means).max() <= 0.5


def test_a_file_is_trained_on_measured_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five channels; 24 x 40 pixels, so no number is mistaken for another."""
    monkeypatch.chdir(tmp_path)
    y = np.arange(40) % 2
    x = images(40, 24, 40, 5) // 2
    x[y == 1, ..., 4] += 120
    saved(tmp_path / "sat.npz", x=x, y=y, x_test=x[:10], y_test=y[:10])
    run = ["train", "baseline", "--data", "sat.npz", "--channels", "5", "--batch-size", "8", "--epochs", "3"]
    main([*run, "--device", "cpu", "--lr", "0.05", "--out", "run"])
    deployed = read_deployed(Path("run"))
    assert deployed.shape == (5, 24, 40)
    mean, std = deployed.statistics
    assert mean == pytest.approx((x / 255)[: len(x)].mean((0, 1, 2)), abs=0.01)
    assert len(std) == 5
    assert cohobate.load(Path("run"))(torch.randn(2, 5, 24, 40)).shape == (2, 2)
    capsys.readouterr()
    main(["evaluate", "run"])
    assert "10 images" in capsys.readouterr().out


# ---------------------------------------------------------------- channels


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((4, 5), None, (3, 4, 5)),
        ((4, 5), 1, (1, 4, 5)),
        ((4, 5, 1), 1, (1, 4, 5)),
        ((1, 4, 5), 1, (1, 4, 5)),
        ((4, 5, 3), 1, (1, 4, 5)),
        ((4, 5, 2), 2, (2, 4, 5)),
        ((2, 4, 5), 2, (2, 4, 5)),
        ((4, 5, 13), 13, (13, 4, 5)),
    ],
)
def test_arrays_have_the_channels_asked_for(
    shape: tuple[int, ...], channels: int | None, expected: tuple[int, ...]
) -> None:
    x = images(6, *shape)
    dataset = arrays(x, np.arange(6) % 2, channels=channels)
    assert dataset.shape == expected
    assert len(dataset.mean) == len(dataset.std) == expected[0]
    if shape == (2, 4, 5):
        assert np.array_equal(dataset.train.x.numpy(), x.transpose(0, 2, 3, 1))


def test_channels_that_an_image_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="channels must be 1 or more, got 0"):
        arrays(images(2, 4, 4), [0, 1], channels=0)
    with pytest.raises(ValueError, match="images of train have 3 channels and cannot be turned into 4"):
        arrays(images(2, 5, 6, 3), [0, 1], channels=4)
    with pytest.raises(ValueError, match=r"read in 3 channels \(RGB\) or 1 \(grey\), got channels 4"):
        load_folder(Path("."), channels=4)


def test_rgb_turns_grey_as_in_pillow_and_grey_stays() -> None:
    from cohobate.data.channels import in_channels

    x = torch.from_numpy(images(3, 7, 6, 3))
    grey = in_channels(x, 1, "them")
    for one, other in zip(x, grey, strict=True):
        assert np.array_equal(np.asarray(Image.fromarray(one.numpy()).convert("L")), other[..., 0].numpy())
    again = in_channels(in_channels(grey, 3, "them"), 1, "them")
    assert torch.equal(again, grey)


def test_digits_in_one_channel_are_those_in_three() -> None:
    three, one = (load_data("digits", Path(), channels=c) for c in (None, 1))
    assert (three.shape, one.shape) == ((3, 8, 8), (1, 8, 8))
    assert torch.equal(one.train.x[..., 0], three.train.x[..., 1])
    assert torch.equal(one.test().x[..., 0], three.test().x[..., 1])
    assert (one.mean, one.std) == (three.mean[:1], three.std[:1])


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_crops_mirror_images_and_normalisation_of_any_number_of_channels(channels: int, device: str) -> None:
    x = images(8, 5, 6, channels)
    dataset = arrays(x, np.arange(8) % 2, channels=channels, crop=2, flip=True)
    options: dict[str, Any] = {"batch_size": 8, "device": torch.device(device)}
    (batch,) = train_loader(dataset, seed=0, **options).epoch(0)
    assert batch.x.shape == (8, channels, 5, 6)
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (dataset.mean, dataset.std))
    shown = (255 * (batch.x.cpu() * std + mean)).round().byte().permute(0, 2, 3, 1).numpy()
    for image, row in zip(shown, batch.index.tolist(), strict=True):
        padded = np.pad(x[row], ((2, 2), (2, 2), (0, 0)))
        crops = [padded[i : i + 5, j : j + 6] for i in range(5) for j in range(5)]
        assert any(np.array_equal(image, c) or np.array_equal(image, c[:, ::-1]) for c in crops)
    (whole,) = eval_loader(dataset.train, dataset, **options).epoch(0)
    back = (255 * (whole.x.cpu() * std + mean)).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(back, x)


def test_a_data_set_of_files_says_how_it_is_read_in_grey(tmp_path: Path) -> None:
    from cohobate.data.channels import with_channels
    from cohobate.data.reader import imagenet

    for name in "ab":
        (tmp_path / "train" / name).mkdir(parents=True)
        for k in range(2):
            Image.fromarray(images(1, 70, 70, 3, seed=k)[0]).save(tmp_path / "train" / name / f"{k}.png")
    dataset = load_folder(tmp_path, image_size=70, channels=1)
    assert (dataset.shape, dataset.mean, dataset.std) == ((1, 70, 70), (0.449,), (0.226,))
    assert imagenet(3)[0] == (0.485, 0.456, 0.406)
    options: dict[str, Any] = {"batch_size": 4, "device": CPU, "workers": 0}
    assert next(iter(train_loader(dataset, seed=0, **options).epoch(0))).x.shape == (4, 1, 70, 70)
    assert next(iter(eval_loader(dataset.train, dataset, **options).epoch(0))).x.shape == (4, 1, 70, 70)
    with pytest.raises(ValueError, match="is read from files; read them with channels=3"):
        with_channels(dataset, 3)


def test_unlabelled_images_have_the_channels_of_the_others(tmp_path: Path) -> None:
    def like(channels: int) -> Dataset:
        x = torch.from_numpy(images(4, 8, 8, channels))
        mean, std = channel_statistics(x)
        return Dataset("like", ("a",), Images(x, torch.zeros(4).long()), None, None, mean, std, 0, False)

    assert unlabelled("digits", tmp_path, like(1))[0].shape == (1, 8, 8)
    file = str(saved(tmp_path / "u.npz", x=images(5, 8, 8, 4), y=np.zeros(5, int)))
    found, _ = unlabelled(file, tmp_path, like(4))
    assert (found.shape, set(found.y.tolist())) == ((4, 8, 8), {-100})
    with pytest.raises(ValueError, match="images of digits have 3 channels and cannot be turned into 4"):
        unlabelled("digits", tmp_path, like(4))
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ValueError, match=r"images of like have 4 channels, and those of a folder, .* 1 or 3"):
        unlabelled(str(tmp_path / "pictures"), tmp_path, like(4))


@pytest.mark.parametrize(
    "spec", ["resnet8", "wrn_16_1", "vgg8", "mobilenet_v2", "shufflenet_v1", "shufflenet_v2"]
)
def test_a_network_is_made_for_the_channels_of_the_images(spec: str) -> None:
    for channels in (1, 5):
        network = cohobate.build(spec, 4, shape=(channels, 32, 32)).eval()
        assert network(torch.randn(2, channels, 32, 32)).logits.shape == (2, 4)
        assert cohobate.build(spec, 4, channels=channels).state_dict().keys() == network.state_dict().keys()
    with pytest.raises(ValueError, match="does not take images of 1 x 32 x 32"):
        cohobate.build(spec, 4, shape=(1, 32, 32), channels=3)

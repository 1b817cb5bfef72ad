"""Networks of timm and torchvision as teachers: pretrained, and under every term."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from cohobate.core import Batch, Frozen
from cohobate.data.arrays import arrays
from cohobate.data.dataset import Dataset
from cohobate.methods.distillation import Distillation
from cohobate.models.build import build
from cohobate.models.surgery.normalised import Renormalised, pretrained_for
from cohobate.recipes.catalogue import TERMS
from cohobate.recipes.job import Job
from cohobate.recipes.options import options, own_options
from cohobate.recipes.recipe import find
from cohobate.recipes.teachers import teacher

SIZE = 64
LIBRARIES = ["timm", "torchvision"]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, nn.Module]]:
    """Library -> spec of a pretrained network, and the network; all that is on this machine's disk.

    The files lie where the libraries look for what they have downloaded.
    """
    ours = torchvision.models.shufflenet_v2_x0_5().eval()
    url = torchvision.models.get_model_weights("shufflenet_v2_x0_5").DEFAULT.url
    kept = tmp_path / "torch" / "hub" / "checkpoints" / Path(url).name
    kept.parent.mkdir(parents=True)
    torch.save(ours.state_dict(), kept)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    theirs = timm.create_model("test_resnet").eval()
    commit = "0" * 40
    hub = tmp_path / "hub" / f"models--{theirs.pretrained_cfg['hf_hub_id'].replace('/', '--')}"
    (hub / "snapshots" / commit).mkdir(parents=True)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text(commit)
    save_file(theirs.state_dict(), hub / "snapshots" / commit / "model.safetensors")
    return {
        "timm": (f"timm:test_resnet:pretrained:cache_dir={tmp_path / 'hub'}", theirs),
        "torchvision": ("torchvision:shufflenet_v2_x0_5:pretrained", ours),
    }


def data(classes: int) -> Dataset:
    """A few images of noise, brighter in one channel than in the others."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 200, (20, SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)
    x[..., 0] += 50
    return arrays(x, torch.arange(20) % min(classes, 7), classes=[str(k) for k in range(classes)])


def job(
    method: str,
    dataset: Dataset,
    *specs: str,
    model: str = "resnet8",
    say: Callable[[str], None] = lambda message: None,
    trained: Callable[[str], nn.Module] | None = None,
) -> Job:
    config = options(method, {"teacher": specs, "model": model, "device": "cpu"})
    return Job(config, dataset, say) if trained is None else Job(config, dataset, say, trained)


def batch(dataset: Dataset, images: int = 4) -> Batch:
    index = torch.arange(images)
    x = normalised(dataset, (dataset.mean, dataset.std), images)
    return Batch((x,), dataset.train.y[index], index, torch.tensor(0.5))


def normalised(dataset: Dataset, by: tuple[tuple[float, ...], tuple[float, ...]], images: int = 4) -> Tensor:
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in by)
    return ((dataset.train.x[:images] / 255 - mean) / std).permute(0, 3, 1, 2).float()


# ---------------------------------------------------------------- pretrained


@pytest.mark.parametrize(("library", "theirs"), [("timm", HALVES), ("torchvision", IMAGENET)])
def test_a_pretrained_teacher_of_the_same_classes_is_taken_as_it_is(
    library: str,
    theirs: tuple[tuple[float, ...], tuple[float, ...]],
    published: dict[str, tuple[str, nn.Module]],
) -> None:
    """And it is shown the images as it knows them."""
    spec, source = published[library]
    dataset, said = data(1000), []
    work = job("kd", dataset, spec, say=said.append)
    found = teacher(work)
    assert isinstance(found, Frozen)
    assert isinstance(found.network, Renormalised)
    expected = source(normalised(dataset, theirs))
    torch.testing.assert_close(found(batch(dataset).x).logits, expected, rtol=1e-4, atol=1e-4)
    words = " and ".join("/".join(f"{v:.4f}" for v in values) for values in theirs)
    trust = f"note: the teacher {spec} does not name its classes; their order is taken on trust"
    assert said[0].startswith(trust)
    assert said[1:] == [
        f"the teacher {spec} sees its images normalised by its own mean and deviation, {words}"
    ]
    # What a term reads is the teacher's own, behind the wrapper too.
    assert found(batch(dataset).x).stages
    assert found(batch(dataset).x).pooled is not None


@pytest.mark.parametrize("library", LIBRARIES)
def test_pretrained_written_as_an_option_with_a_value(
    library: str, published: dict[str, tuple[str, nn.Module]]
) -> None:
    spec = published[library][0].replace(":pretrained", ":pretrained=true")
    assert isinstance(teacher(job("kd", data(1000), spec)).network, Renormalised)


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_users_mean_and_deviation_come_first(
    library: str, published: dict[str, tuple[str, nn.Module]]
) -> None:
    spec, source = published[library]
    dataset = data(1000)
    given = (0.1, 0.2, 0.3), (0.3, 0.2, 0.1)
    found = teacher(job("kd", dataset, f"{spec}:mean=0.1/0.2/0.3:std=0.3/0.2/0.1"))
    expected = source(normalised(dataset, given))
    torch.testing.assert_close(found(batch(dataset).x).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_pretrained_teacher_of_other_classes_is_trained_first(
    library: str, published: dict[str, tuple[str, nn.Module]]
) -> None:
    """Its classifier is a new one: nothing it predicts is worth learning yet."""
    spec, source = published[library]
    asked: list[str] = []
    work = job("kd", data(7), spec)
    with pytest.raises(ValueError, match=f"the teacher {spec} has no weights, and is not trained here"):
        teacher(work)

    def trained(name: str) -> nn.Module:
        asked.append(name)
        return work.build(name)

    found = teacher(job("kd", data(7), spec, trained=trained))
    assert asked == [spec]
    # It begins where the library's training ended, but for the classifier.
    state, own = source.state_dict(), found.network.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[key], state[key]) for key in state if not key.startswith("fc."))
    assert own["fc.weight"].shape[0] == 7
    # It learned from this run's images, normalised as they are: nothing is to be undone.
    assert not isinstance(found.network, Renormalised)


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_a_pretrained_network_wants(library: str, published: dict[str, tuple[str, nn.Module]]) -> None:
    spec, _ = published[library]
    network = build(spec, 1000, shape=(3, SIZE, SIZE))
    assert pretrained_for(network, 1000) == {"timm": HALVES, "torchvision": IMAGENET}[library]
    assert pretrained_for(network, 7) is None
    assert pretrained_for(build(spec, 7, shape=(3, SIZE, SIZE)), 7) is None


def test_a_built_in_network_wants_nothing() -> None:
    assert pretrained_for(build("resnet8", 10), 10) is None
    plain = build("torchvision:shufflenet_v2_x0_5", 1000, shape=(3, SIZE, SIZE))
    assert pretrained_for(plain, 1000) is None


# ---------------------------------------------------------------- every term

TIMM, TORCHVISION = "timm:test_resnet", "torchvision:shufflenet_v2_x0_5"

# Student, teacher.
PAIRS = [(TIMM, TORCHVISION), (TORCHVISION, TIMM), (TIMM, "resnet8"), ("resnet8", TORCHVISION)]

FINE = [name for name in TERMS if name != "overhaul"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Network -> its spec as a teacher, with weights."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    specs = {}
    for number, name in enumerate((TIMM, TORCHVISION, "resnet8")):
        file = folder / f"{number}.safetensors"
        save_file(build(name, 7, shape=(3, SIZE, SIZE)).state_dict(), file)
        specs[name] = f"{name}:weights={file}"
    return specs


@pytest.mark.parametrize("pair", PAIRS, ids=" from ".join)
def test_every_term_steps_between_libraries(pair: tuple[str, str], weights: dict[str, str]) -> None:
    student, spec = pair[0], weights[pair[1]]
    dataset = data(7)
    for name in FINE:
        own = {"negatives": 16} if name == "crd" else {}
        work = job(name, dataset, spec, model=student)
        given = {option: getattr(work.training, option) for option in own_options(name)}
        method = next(find(name).plan(work, {**given, **own})).method
        assert isinstance(method, Distillation)
        losses = method(batch(dataset))
        assert losses.keys() == {"ce", name}
        assert torch.isfinite(losses[name]), name
        assert losses[name] > 0, name
        losses[name].backward()
        gradients = [p.grad for p in method.student.parameters() if p.grad is not None]
        assert all(torch.isfinite(g).all() for g in gradients), name
        assert any(g.any() for g in gradients), name
        assert all(p.grad is not None for p in method.terms.parameters()), name
        assert all(p.grad is None for p in method.teacher.network.parameters()), name


@pytest.mark.parametrize("pair", [(TIMM, "resnet8"), ("resnet8", TIMM)], ids=" from ".join)
def test_overhaul_of_libraries(pair: tuple[str, str], weights: dict[str, str]) -> None:
    """Student and teacher return their stages before the last ReLU, the margins are the teacher's."""
    dataset = data(7)
    for name in ("overhaul", "kd+overhaul"):
        work = job(name, dataset, weights[pair[1]], model=pair[0])
        method = next(find(name).plan(work, {"ce_weight": 1.0})).method
        losses = method(batch(dataset))
        assert losses["overhaul"] > 0
        losses["overhaul"].backward()
        assert any(p.grad is not None and p.grad.any() for p in method.student.parameters())
        output = method.teacher(batch(dataset).x)
        assert all(torch.equal(p.relu(), s) for p, s in zip(output.preacts, output.stages, strict=True))


@pytest.mark.parametrize("pair", [(TIMM, TORCHVISION), (TORCHVISION, TIMM)], ids=" from ".join)
def test_overhaul_says_what_it_misses(pair: tuple[str, str], weights: dict[str, str]) -> None:
    """The stages of a ShuffleNetV2 end in a shuffle of two norms' channels."""
    work = job("overhaul", data(7), weights[pair[1]], model=pair[0])
    with pytest.raises(ValueError, match="ShuffleNetV2: the stage 'stage2' ends neither in a ReLU nor in a"):
        next(find("overhaul").plan(work, {"ce_weight": 1.0}))

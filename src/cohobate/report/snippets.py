"""Python that uses an exported file, for its card: without cohobate, but for weights alone."""

from __future__ import annotations

from ..config.colours import colour
from ..config.forms import Form
from ..runs.exported import About

RGB, GREY = 3, 1


def reading(about: About, larger: float) -> str:
    """From a picture to ``pixels``, uint8 (1, C, H, W), as pictures are read for the training.

    Where every pixel gets a class, ``mask`` is defined too: logits -> the classes of the picture's pixels.

    Args:
        about: the network.
        larger: how much larger than its central crop a picture is made, if it is cropped.
    """
    channels, height, width = about.shape
    masked = about.task == "segmentation"
    if channels not in (RGB, GREY):
        lines = ["import json", "", "import numpy as np"]
        lines += ["from PIL import Image"] if masked else []
        shape = f"(1, {channels}, {height}, {width})"
        lines += ["", f"pixels = np.zeros({shape}, np.uint8)  # put your image here"]
        box = f"left, top, right, bottom = 0, 0, {width}, {height}"
        return "\n".join([*lines, *([f"own = {width}, {height}", box, *MASK] if masked else [])])
    mode = "RGB" if channels == RGB else "L"
    stored = about.averaged_from or (height, width)
    lines = [
        "import json",
        "",
        "import numpy as np",
        "from PIL import Image, ImageOps",
        "",
        f"height, width, background = {stored[0]}, {stored[1]}, {colour(about.background)}",
        'picture = ImageOps.exif_transpose(Image.open("photo.jpg"))',
        'if picture.mode[0] in "IF":',
        '    raise ValueError("16 or 32 bits a pixel: save it with 8 bits")',
        'below = Image.new("RGBA", picture.size, background)',
        'picture = Image.alpha_composite(below, picture.convert("RGBA")).convert("RGB")' + _grey(channels),
        *(["own = picture.size"] if masked else []),
        *FITS[about.fit],
        f"pixels = np.array(picture).reshape(height, width, {channels})",
        *_averaged(about),
        "pixels = pixels.transpose(2, 0, 1)[None]",
        *([*BOXES[about.fit], *MASK] if masked else []),
    ]
    larger = larger if about.averaged_from is None else 1
    crop = {"HEIGHT": str(round(stored[0] * larger)), "WIDTH": str(round(stored[1] * larger))}
    text = "\n".join(lines).replace("MODE", f'"{mode}"')
    for name, value in crop.items():
        text = text.replace(name, value)
    return text


def _averaged(about: About) -> list[str]:
    """Means over areas; a half is rounded up."""
    channels, height, width = about.shape
    if about.averaged_from is None:
        return []
    return [
        f"pixels = pixels.repeat({height}, 0).repeat({width}, 1)",
        f"pixels = pixels.reshape({height}, height, {width}, width, {channels}).mean((1, 3))",
        "pixels = np.floor(pixels + 0.5).astype(np.uint8)",
    ]


def _grey(channels: int) -> str:
    return '.convert("L")' if channels == GREY else ""


FITS = {
    "crop": (
        "scale = max(HEIGHT / picture.height, WIDTH / picture.width)",
        "size = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))",
        "left, top = (size[0] - width) // 2, (size[1] - height) // 2",
        "picture = picture.resize(size, Image.Resampling.BILINEAR)",
        "picture = picture.crop((left, top, left + width, top + height))",
    ),
    "pad": (
        "scale = min(height / picture.height, width / picture.width)",
        "size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))",
        'whole = Image.new("RGB", (width, height), background).convert(MODE)',
        "whole.paste(",
        "    picture.resize(size, Image.Resampling.BILINEAR),",
        "    ((width - size[0]) // 2, (height - size[1]) // 2),",
        ")",
        "picture = whole",
    ),
    "squash": ("picture = picture.resize((width, height), Image.Resampling.BILINEAR)",),
}
"""How a picture becomes an image -> the lines that do it."""

BOXES = {
    "pad": (
        "left, top = (width - size[0]) // 2, (height - size[1]) // 2",
        "right, bottom = left + size[0], top + size[1]",
    ),
    "squash": ("left, top, right, bottom = 0, 0, width, height",),
}
"""How a whole picture becomes an image -> where it is in the image."""

MASK = (
    "",
    "",
    "def mask(logits):",
    '    """(K, height, width) -> the class of each pixel of the picture, enlarged bilinearly."""',
    "    logits = logits[:, top:bottom, left:right]",
    "    for axis, length in ((1, own[1]), (2, own[0])):",
    "        here = logits.shape[axis]",
    "        at = ((np.arange(length) + 0.5) * here / length - 0.5).clip(0, here - 1)",
    "        low = at.astype(int)",
    "        high = np.minimum(low + 1, here - 1)",
    "        share = np.expand_dims(at - low, 2 - axis).astype(np.float32)",
    "        logits = logits.take(low, axis) * (1 - share) + logits.take(high, axis) * share",
    "    return logits.argmax(axis=0).astype(np.uint8)",
)
"""From logits to the classes of a picture's pixels."""

IMAGES = {
    "0-255": (),
    "0-1": ("pixels = pixels.astype(np.float32) / 255",),
    "normalised": (
        'mean, std = (np.array(json.loads(about[key]), np.float32) for key in ("mean", "std"))',
        "pixels = (pixels.astype(np.float32) / 255 - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)",
    ),
}
"""Values that a file takes -> what makes them of ``pixels``."""

CLASSES = 'json.loads(about["classes"])'


def _said(about: About, classes: str, logits: str = "logits[0]") -> list[str]:
    """From logits to what is said of the picture: its label, or its mask and the classes in it."""
    if about.task == "classification":
        return [f"print({classes}[int({logits}.argmax())])"]
    return [
        f"found = mask({logits})",
        'Image.fromarray(found).save("mask.png")  # the number of its class for each pixel',
        f"print([{classes}[k] for k in np.unique(found)])",
    ]


def use(form: Form, about: About, file: str) -> str:
    """From ``pixels`` to a label, or a mask, by a file of this form."""
    return "\n".join(USES[form](about, file))


def _onnx(about: About, file: str) -> list[str]:
    return [
        "import onnxruntime",
        "",
        f"session = onnxruntime.InferenceSession({file!r})",
        "about = session.get_modelmeta().custom_metadata_map",
        *_images(about),
        f'(logits,) = session.run(None, {{"images": {_shown(about)}}})',
        *_said(about, CLASSES),
    ]


def _pt2(about: About, file: str) -> list[str]:
    return [
        "import torch",
        "",
        'extra = {"cohobate.json": ""}',
        "# Opening a .pt2 file can run code that is in it: open your own ones only.",
        f"network = torch.export.load({file!r}, extra_files=extra).module()",
        'about = json.loads(extra["cohobate.json"])',
        *_images(about),
        "with torch.no_grad():",
        f"    logits = network(torch.from_numpy({_shown(about)}))",
        *_said(about, CLASSES, _array(about)),
    ]


def _safetensors(about: About, file: str) -> list[str]:
    trust = ", trust=True" if names_code(about) else ""
    return _weights(about, "cohobate", f"cohobate.load({file!r}{trust})", "network.class_names")


def names_code(about: About) -> bool:
    """Whether code of one's own makes a network, ``net.py:make`` or ``package.module:make``."""
    return any(map(_is_code, about.members or (about.model or "",)))


def _is_code(spec: str) -> bool:
    backbone = spec.removeprefix("dense:")
    return "." in backbone.partition(":")[0] or ".py:" in backbone


def timm(about: About) -> str:
    """From ``pixels`` to a label, by timm, which builds the network of the folder."""
    made = 'timm.create_model("local-dir:.", pretrained=True).eval()  # . is the folder of the files'
    return "\n".join(_weights(about, "timm", made, 'network.pretrained_cfg["label_names"]'))


def _weights(about: About, library: str, network: str, classes: str) -> list[str]:
    return [
        f"import {library}",
        "import torch",
        "",
        f"mean = torch.tensor({list(about.mean)}).view(-1, 1, 1)",
        f"std = torch.tensor({list(about.std)}).view(-1, 1, 1)",
        f"network = {network}",
        "with torch.no_grad():",
        "    logits = network((torch.from_numpy(pixels).float() / 255 - mean) / std)",
        *_said(about, classes, _array(about)),
    ]


def cascade(about: About) -> str:
    """From ``pixels`` to a label, by the runner of a cascade in the folder."""
    return "\n".join(
        [
            "from cascade import Cascade",
            "",
            "cascade = Cascade()",
            *(line.replace("json.loads(about[key])", "cascade.about[key]") for line in _images(about)),
            f"logits, exits = cascade.predict({_shown(about)})  # exits: the network after which each left",
            "print(cascade.classes[int(logits[0].argmax())])",
        ]
    )


def _array(about: About) -> str:
    """The logits of an image, in NumPy where a mask is made of them."""
    return "logits[0]" if about.task == "classification" else "logits[0].numpy()"


def _images(about: About) -> list[str]:
    """Under a name of their own, since ``pixels`` serve several files."""
    return [line.replace("pixels = ", "images = ", 1) for line in IMAGES[about.values]]


def _shown(about: About) -> str:
    return "images" if IMAGES[about.values] else "pixels"


USES = {"onnx": _onnx, "pt2": _pt2, "safetensors": _safetensors}

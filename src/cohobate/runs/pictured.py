"""A few pictures of a finished run of segmentation, with masks and predictions: ``pictures.json``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Base64Bytes, BaseModel, ConfigDict, ValidationError

from .layout import RunFolder


class Picture(BaseModel):
    """An image as the network sees it, less its padding; each part is a file in itself.

    Attributes:
        row: of the image in its split.
        image: JPEG, (H, W), RGB or grey.
        mask: PNG, (H, W), with a palette: the class of each pixel, 255 where it is not counted.
        named: PNG, the same, as the network names them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: int
    image: Base64Bytes
    mask: Base64Bytes
    named: Base64Bytes


class Pictured(BaseModel):
    """The content of the file.

    Attributes:
        split: of the run's data, from which the pictures are.
        images: that the split has.
        classes: their names; class k is ``classes[k]``.
        pictures: evenly spaced in the split.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    split: str
    images: int
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]


def read_pictured(folder: Path) -> Pictured | None:
    """The pictures of a run; None if it has none.

    Raises:
        ValueError: the file has another form; the message names it.
    """
    file = RunFolder(folder).pictures
    if not file.is_file():
        return None
    try:
        return Pictured.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(
            f"{file} does not hold the pictures of a run ({where}: {first['msg']}); remove it, and the page "
            "is made without them"
        ) from error

"""Pictures decoded in chunks, and the readable ones in whole batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from handed_over import save_picture

from cohobate.data import decoded
from cohobate.data.dataset import Files
from cohobate.data.decoded import Chunk, Decoder, batches, chunks
from cohobate.data.pictures import Reading
from cohobate.data.raw import pixels


def test_the_batches_are_those_of_the_readable_pictures() -> None:
    """Numbers and pixels stay together, and every batch but the last is full."""
    bad = {0, 5, 6, 7, 8, 9, 13}
    size = 4
    pieces = []
    for first in range(0, 19, 5):
        rows = range(first, min(first + 5, 19))
        good = [row for row in rows if row not in bad]
        x = torch.tensor(good, dtype=torch.uint8).view(-1, 1, 1, 1)
        why = [(row, f"why {row}") for row in rows if row in bad]
        pieces.append(Chunk(good, x, [(row, 2 * row) for row in good], why))
    met: list[tuple[int, str]] = []
    found = list(batches(pieces, size, lambda row, why: met.append((row, why))))
    assert met == [(row, f"why {row}") for row in sorted(bad)]
    assert [each.rows for each in found] == [[1, 2, 3, 4], [10, 11, 12, 14], [15, 16, 17, 18]]
    for rows, x, sizes in found:
        assert x.flatten().tolist() == rows
        assert sizes == [(row, 2 * row) for row in rows]
    assert [len(each.rows) for each in batches(pieces, 2, lambda row, why: None)] == [2] * 6
    assert [len(each.rows) for each in batches(pieces, 5, lambda row, why: None)] == [5, 5, 2]
    assert [len(each.rows) for each in batches(pieces, 100, lambda row, why: None)] == [12]
    assert list(batches([], 3, lambda row, why: None)) == []


def test_a_bad_picture_may_stop_it() -> None:
    def stop(row: int, why: str) -> None:
        raise KeyError(row)

    with pytest.raises(KeyError, match="2"):
        list(batches([Chunk([], torch.empty(0), [], [(2, "")])], 3, stop))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_they_are_the_pixels_of_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, channels: int
) -> None:
    monkeypatch.setattr(decoded, "CHUNK", 2)
    paths = [save_picture(tmp_path / f"{i}.png", i, (90 + i, 70)) for i in range(5)]
    paths[2].write_bytes(b"")
    reading = Reading("pad", "#c01020", channels)
    done: list[int] = []
    found = list(chunks(Decoder(paths, (72, 80), reading), workers, done.append))
    assert [chunk.rows for chunk in found] == [[0, 1], [3], [4]]
    assert [row for chunk in found for row, _ in chunk.bad] == [2]
    assert done == [2, 4, 5]
    assert [size for chunk in found for size in chunk.sizes] == [(70, 90 + i) for i in (0, 1, 3, 4)]
    files = Files(tuple(paths), torch.zeros(5, dtype=torch.int64), (72, 80), reading)
    expected = pixels(files, [0, 1, 3, 4]).permute(0, 2, 3, 1)
    assert torch.equal(torch.cat([chunk.pixels for chunk in found if chunk.rows]), expected)


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    path = save_picture(tmp_path / "1.png")
    before = torch.get_rng_state()
    list(chunks(Decoder([path], (8, 8), Reading()), 0))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_reason_is_whole_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a cannot be decoded: b.png"
    path.write_bytes(b"no picture")
    ((_, why),) = next(chunks(Decoder([path], (8, 8), Reading()), 0)).bad
    assert why == "it is no image, or of a format that Pillow does not know"


def test_a_loader_that_fails_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(decoded, "DataLoader", lambda *arguments, **options: iter(fails, 0))
    with pytest.raises(ValueError, match="a process that decodes images has failed: RuntimeError; give"):
        list(chunks(Decoder([Path("a.png")], (8, 8), Reading()), 0))

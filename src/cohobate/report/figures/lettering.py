"""The room that text takes in a figure, by the metrics of its font; text broken or shortened to fit."""

from __future__ import annotations

FONT = "DejaVu Sans"
"""Ships with matplotlib, so layouts agree on every machine."""

POINTS = 72  # an inch


def inches(text: str, size: float, weight: str = "normal") -> float:
    """Width of one line of text, its size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=FONT, size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / POINTS


def wrapped(text: str, size: float, width: float) -> list[str]:
    """Lines of at most ``width`` inches, broken at spaces; a longer word is broken where it must be."""
    lines: list[str] = []
    for word in text.split():
        if lines and inches(f"{lines[-1]} {word}", size) <= width:
            lines[-1] = f"{lines[-1]} {word}"
            continue
        while inches(word, size) > width and len(word) > 1:
            part = _longest_start(word, size, width)
            lines.append(part)
            word = word[len(part) :]
        lines.append(word)
    return lines


def shortened(text: str, size: float, width: float, weight: str = "normal") -> str:
    """The text, or what fits of it in ``width`` inches with an ellipsis at its end."""
    if inches(text, size, weight) <= width:
        return text
    return _longest_start(text, size, width - inches("…", size, weight), weight) + "…"


def _longest_start(text: str, size: float, width: float, weight: str = "normal") -> str:
    """As many characters, one at least, as fit in ``width`` inches."""
    end = next((n for n in range(2, len(text) + 1) if inches(text[:n], size, weight) > width), len(text) + 1)
    return text[: end - 1]

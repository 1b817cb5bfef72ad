"""Markdown as a reader sees it."""

from __future__ import annotations

from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

Table = list[list[str]]


class Seen(NamedTuple):
    """What a page in Markdown shows.

    Attributes:
        headings: their texts.
        tables: each as rows of texts, the headings first.
        items: texts of the items of lists, without those of lists within them.
        code: language and text of each block.
        html: raw HTML, a text for each block or tag.
    """

    headings: list[str]
    tables: list[Table]
    items: list[str]
    code: list[tuple[str, str]]
    html: list[str]


def seen(text: str) -> Seen:
    """The parts of a page, by GitHub's rules for tables; front matter is left out."""
    if text.startswith("---\n"):
        text = text.split("---\n", 2)[2]
    tokens = MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(text)
    found = Seen([], [], [], [], [])
    opened = ""
    for token in tokens:
        if token.type == "table_open":
            found.tables.append([])
        elif token.type == "tr_open":
            found.tables[-1].append([])
        elif token.type in ("th_open", "td_open", "heading_open"):
            opened = token.type
        elif token.type == "list_item_open":
            opened = token.type
            found.items.append("")
        elif token.type == "inline":
            found.html.extend(each.content for each in token.children or () if each.type == "html_inline")
            if opened in ("th_open", "td_open"):
                found.tables[-1][-1].append(shown(token))
            elif opened == "heading_open":
                found.headings.append(shown(token))
            elif opened == "list_item_open":
                found.items[-1] += shown(token)
            opened = ""
        elif token.type == "fence":
            found.code.append((token.info, token.content))
        elif token.type == "html_block":
            found.html.append(token.content)
    return found


def shown(token: Token) -> str:
    """The plain text of a line; what is emphasised, struck out, linked or an image is marked as such."""
    texts = []
    for each in token.children or ():
        if each.type in ("text", "code_inline", "text_special"):
            texts.append(each.content)
        elif each.type in ("softbreak", "hardbreak"):
            texts.append(" ")
        else:
            texts.append(f"<{each.type}>")
    return "".join(texts)

"""HTML that is well formed and escaped by construction, and the look of a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

META = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fbfbfa; --card: #ffffff; --ink: #1d2125; --soft: #5c646d; --line: #e3e5e8; --accent: #8a4b16;
  --better: #d6efe4; --worse: #fbe0d2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --card: #1b1f23; --ink: #e7e9eb; --soft: #9aa3ac; --line: #30363c; --accent: #e0a56b;
    --better: #17493a; --worse: #5a2d17;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 70rem; margin: 0 auto; padding: 3rem 1.5rem 5rem; }
header { margin-bottom: 3rem; }
h1 {
  margin: 0; font-size: clamp(1.6rem, 5vw, 2.3rem); line-height: 1.15; letter-spacing: -.02em;
  overflow-wrap: anywhere;
}
h2 { margin: 0 0 .75rem; font-size: 1.2rem; letter-spacing: -.01em; }
h3 { margin: 2rem 0 .75rem; font-size: .95rem; color: var(--soft); }
section { margin-top: 3rem; }
.brand { margin: 0 0 1.25rem; color: var(--accent); font-weight: 600; letter-spacing: .02em; }
.lead { margin: .5rem 0 0; color: var(--soft); font-size: 1.1rem; }
.caption { max-width: 48rem; margin: .75rem 0; color: var(--soft); font-size: .9rem; }
.notes { max-width: 48rem; margin: .75rem 0 0; padding-left: 1.1rem; color: var(--soft); font-size: .85rem; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 10px; background: var(--card); }
table { width: 100%; border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .6rem .8rem; text-align: right; }
td { white-space: nowrap; }
tr > :first-child { position: sticky; left: 0; background: var(--card); text-align: left; }
thead th { color: var(--soft); font-size: .78rem; font-weight: 500; line-height: 1.3; }
thead th { vertical-align: bottom; }
tbody tr > * { border-top: 1px solid var(--line); }
tbody th { min-width: 8.5rem; max-width: 18rem; font-weight: 600; overflow-wrap: break-word; }
.method { white-space: nowrap; }
.options { display: block; padding-left: 1.15rem; color: var(--soft); font-weight: 400; font-size: .82rem; }
.key { display: inline-block; width: .6rem; height: .6rem; margin-right: .55rem; border-radius: 50%; }
mark { margin: -.15rem -.4rem; padding: .15rem .4rem; border-radius: 5px; color: inherit; }
.better { background: var(--better); }
.worse { background: var(--worse); }
.figures { display: grid; gap: 1.25rem; }
.figures { grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
figure { margin: 0; }
figure svg {
  display: block; width: 100%; height: auto; padding: .75rem; background: #fff;
  border: 1px solid var(--line); border-radius: 10px;
}
figure svg text { font-family: inherit !important; font-variant-numeric: tabular-nums; }
figcaption { margin: .5rem .2rem 0; color: var(--soft); font-size: .85rem; }
dl { display: grid; gap: .9rem 1.5rem; margin: 0; }
dl { grid-template-columns: repeat(auto-fill, minmax(min(100%, 13rem), 1fr)); }
dl + .wide { margin-top: 1.25rem; }
dt { color: var(--soft); font-size: .78rem; }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; font-size: .95rem; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); margin-bottom: 1.5rem; }
.tiles dd { font-size: 1.25rem; font-weight: 600; }
pre {
  margin: 0 0 .75rem; padding: .9rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere;
  border: 1px solid var(--line); border-radius: 10px; background: var(--card); font-size: .85rem;
}
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
"""


class Html(str):
    """Text that is markup already; any other text is escaped when it is put on a page."""


def tag(name: str, *children: str, cls: str = "", **attributes: str) -> Html:
    """An element; ``cls`` is its class."""
    attributes = ({"class": cls} if cls else {}) | attributes
    head = name + "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{head}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    """Pieces one after the other, escaped unless they are markup already."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def wide_table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> Html:
    """The first column names the row; the table scrolls sideways where the screen is narrow."""
    header = tag("tr", *(tag("th", text, scope="col") for text in head))
    body = tag("tbody", *(_row(name, cells) for name, *cells in rows))
    return tag("div", tag("table", tag("thead", header), body), cls="wide", tabindex="0")


def _row(name: str, cells: Sequence[str]) -> Html:
    return tag("tr", tag("th", name, scope="row"), *(tag("td", text) for text in cells))


def document(title: str, lead: str, *sections: Html) -> str:
    """A whole page that needs nothing but itself."""
    head = tag("head", Html(META), tag("title", f"cohobate: {title}"), tag("style", Html(CSS)))
    titles = [tag("p", "cohobate", cls="brand"), tag("h1", title), tag("p", lead, cls="lead")]
    body = tag("body", tag("main", tag("header", *titles), *sections))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"

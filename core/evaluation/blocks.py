"""What a report is made of, as one HTML page or as Markdown. All text from data is escaped."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

STYLE = """
:root{color-scheme:light dark;--ink:#14212a;--muted:#4d5f6b;--line:#dce3e7;--page:#fff;
--good:#17703f;--bad:#b02318;--c0:#0b6a7d;--c1:#ad4f06;--c2:#6a3fb5;--c3:#17703f;--c4:#b02318;
--c5:#8a5300}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e7edf0;--muted:#a5b4bd;--line:#2b3740;
--page:#0e1418;--good:#6bd29a;--bad:#ff9288;--c0:#5cc3d6;--c1:#f2a45f;--c2:#b79cf2;--c3:#6bd29a;
--c4:#ff9288;--c5:#f2bf6b}}
body{font:15px/1.55 system-ui,"Noto Sans CJK SC",sans-serif;color:var(--ink);max-width:960px;
background:var(--page);margin:32px auto;padding:0 20px}
h1{font-size:24px;overflow-wrap:anywhere}h2{font-size:18px;margin:28px 0 6px}h3{font-size:15px}
p,td,th{overflow-wrap:anywhere}.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;margin:6px 0;font-variant-numeric:tabular-nums}
td,th{border-bottom:1px solid var(--line);padding:6px 12px 6px 0;text-align:left;
vertical-align:top;min-width:90px;white-space:pre-wrap}
th{font-weight:400;color:var(--muted)}small{color:var(--muted);display:block}
.better{color:var(--good)}.worse{color:var(--bad)}
svg{width:100%;height:auto}svg text{fill:var(--muted);font-size:13px}
@media print{h2{break-after:avoid}tr,svg{break-inside:avoid}.wide{overflow:visible}}
"""
OWN = ' translate="no"'


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Cell:
    """`small` stands below the text; `kind` is better, worse or nothing."""

    text: str
    small: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """`head` is empty for pairs of a label and a value; the first cell of a line names it. Lines
    that are the person's or a model's words, or names of settings, are their `own`: they are never
    translated."""

    head: Sequence[str]
    lines: Sequence[Sequence[Cell]]
    own: bool = False


@dataclass(frozen=True)
class Drawing:
    """An SVG of our own making; Markdown leaves it out."""

    svg: str


Block = Heading | Paragraph | Table | Drawing


def table(head: Sequence[str], lines: Iterable[Iterable[str]], own: bool = False) -> Table:
    return Table(head, [[Cell(text) for text in line] for line in lines], own)


def to_html(title: str, blocks: Iterable[Block]) -> str:
    """A self-contained page: no script, nothing fetched, made to be printed."""
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width"><title>{html.escape(title)}</title>'
            f"<style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>"
            f"{''.join(map(_html, blocks))}</body></html>")


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Drawing):
        return block.svg
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in block.head)
    body = "".join("<tr>" + _html_cell(line[0], 'th scope="row"', "th")
                   + "".join(_html_cell(cell, "td", "td") for cell in line[1:]) + "</tr>"
                   for line in block.lines)
    return (f'<div class="wide"><table>{f"<thead><tr>{head}</tr></thead>" if head else ""}'
            f"<tbody{OWN if block.own else ''}>{body}</tbody></table></div>")


def _html_cell(cell: Cell, opening: str, closing: str) -> str:
    kind = f' class="{cell.kind}"' if cell.kind else ""
    small = f"<small>{html.escape(cell.small)}</small>" if cell.small else ""
    return f"<{opening}{kind}>{html.escape(cell.text)}{small}</{closing}>"


def to_markdown(title: str, blocks: Iterable[Block]) -> str:
    lines = [f"# {title}"]
    for block in blocks:
        if isinstance(block, Heading):
            lines += ["", f"{'#' * block.level} {block.text}"]
        elif isinstance(block, Paragraph):
            lines += ["", block.text]
        elif isinstance(block, Table):
            lines += ["", *_markdown_table(block)]
    return "\n".join(lines) + "\n"


def _markdown_table(block: Table) -> list[str]:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ")
                                 for cell in cells) + " |"

    head = block.head or [""] * len(block.lines[0])
    return [line(head), "|" + "---|" * len(head), *(
        line(f"{cell.text} ({cell.small})" if cell.small else cell.text for cell in cells)
        for cells in block.lines)]

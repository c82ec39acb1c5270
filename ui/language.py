"""The page in the person's language: its script, its switch, and the catalogues it asks for."""

import html
import json
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from core.files import Folders

REPORT_STYLE = """
.td-language{float:right}.td-language button{padding:3px 10px;border:1px solid;border-radius:6px;
margin-left:6px;background:none;color:inherit;font:inherit;cursor:pointer}
.td-language button[aria-pressed=true]{font-weight:700}@media print{.td-language{display:none}}
"""
SWITCH = ('<div class="td-language" role="group" aria-label="Language" translate="no">'
          '<button type="button" data-language="en" lang="en">EN</button>'
          '<button type="button" data-language="zh" lang="zh-CN">中文</button></div>')


def head(folders: Folders) -> str:
    """What the page's head needs, so that nothing is drawn before it can be translated."""
    return f"<script>{(folders.assets / 'translate.js').read_text(encoding='utf-8')}</script>"


def bilingual(report: str, folders: Folders) -> str:
    """The same HTML page in its reader's language, with a switch. It brings along what it needs of
    the catalogues, and still fetches nothing."""
    text = html.unescape(report)
    told = json.dumps({path.stem: _needed(path, text) for path in
                       sorted((folders.assets / "locale").glob("*.json"))}, ensure_ascii=False)
    brought = told.replace("<", "\\u003c")  # so that no text of a catalogue ends the script
    begin = (f"<style>{REPORT_STYLE}</style><script>window.tunedeskCatalogues = {brought}</script>"
             f"{head(folders)}</head>")
    return report.replace("</head>", begin, 1).replace("<body>", f"<body>{SWITCH}", 1)


def _needed(catalogue: Path, text: str) -> dict[str, str]:
    """The sentences whose words all stand in `text`, whatever stands in their holes."""
    sentences = json.loads(catalogue.read_text(encoding="utf-8"))
    return {english: said for english, said in sentences.items()
            if all(part.strip() in text for part in re.split(r"\{\d+\}", english))}


def route(folders: Folders) -> Route:
    """The catalogues, one a language: English sentence to its translation."""
    known = {path.stem: path for path in (folders.assets / "locale").glob("*.json")}

    async def catalogue(request: Request) -> Response:
        path = known.get(request.path_params["name"])
        if path is None:
            return Response("There is no such language.", 404)
        return FileResponse(path, headers={"Cache-Control": "no-cache"})

    return Route("/locale/{name}.json", catalogue)

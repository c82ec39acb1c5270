"""Finds the English that reaches the page: in the settings, in core and ui, in the scripts."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
# What these write is read in a terminal, a file or by a program, never on the page.
ELSEWHERE = {
    "core/export/card.py", "core/export/commands.py", "core/export/elsewhere.py",
    "core/export/headless.py", "core/training/headless.py", "core/training/recorder.py",
    "core/data/changing/synonyms.py", "ui/theme.py", "ui/guard.py", "ui/endpoint.py",
    "ui/language.py", "core/export/openai.py", "core/data/choosing/language.py",
}
LABELS = {"label", "info", "placeholder", "title"}
DRAWN = {"Button", "Tab", "Accordion", "UploadButton", "DownloadButton", "Checkbox", "UserError",
         "_tile", "Finding", "line", "note"}
# Modules whose single words with a capital are labels, too.
SHOWING = ("ui/", "core/config.py", "core/evaluation/tables.py", "core/evaluation/fairness.py",
           "core/chat/sampling.py", "core/data/looking/summary.py", "core/export/publish.py",
           "core/chat/report.py", "core/export/proof.py")
NAME = re.compile(r"[A-Z][A-Za-z0-9]+(?:[ -][A-Za-z0-9]+)*")
HOLE = re.compile(r"\{\d+\}")


def everything() -> dict[str, str]:
    """Each English text that the page may show, holes numbered from {1}, to where it stands."""
    found: dict[str, str] = {}
    for path in sorted([*ROOT.glob("core/**/*.py"), *ROOT.glob("ui/**/*.py")]):
        name = path.relative_to(ROOT).as_posix()
        if name not in ELSEWHERE:
            for text, line in _in_python(path):
                found.setdefault(text, f"{name}:{line}")
    for path in sorted(ROOT.glob("assets/*.js")):
        if path.name != "translate.js":
            for text, line in _in_script(path):
                found.setdefault(text, f"{path.name}:{line}")
    for entry in json.loads((ROOT / "assets/catalogue.json").read_text(encoding="utf-8")):
        for text in (entry.get("license_note"), entry.get("wheel", {}).get("note")):
            if text:
                found.setdefault(text, "catalogue.json")
    for path in sorted(ROOT.glob("assets/samples/*/about.json")):
        found.setdefault(json.loads(path.read_text(encoding="utf-8"))["name"], path.parent.name)
    for text in _listed("not_shown"):
        found.pop(text, None)
    for text in _listed("composed"):
        found.setdefault(text, "tests/language/composed.json")
    return found


def _listed(name: str) -> list[str]:
    """`composed`: what code puts together from pieces, or Gradio says itself. `not_shown`: what
    looks like words for a person and is a prompt, a file's content, a program's message."""
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def _in_python(path: Path) -> Iterator[tuple[str, int]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    passed = _unspoken(nodes)
    shows = path.relative_to(ROOT).as_posix().startswith(SHOWING)
    surely = {id(value) for node in nodes if isinstance(node, ast.Call) for value in _drawn(node)}
    is_page = path.is_relative_to(ROOT / "ui")
    for node in nodes:
        text = "" if id(node) in passed else _with_holes(node)
        for piece in _without_tags(text):
            if id(node) in surely and re.search("[A-Za-z]{2}", HOLE.sub("", piece)) or _is_told(
                    piece, is_page) or shows and NAME.fullmatch(piece):
                yield piece, node.lineno


def _unspoken(nodes: list[ast.AST]) -> set[int]:
    """Docstrings, comparisons, keys, and pieces of f-strings, which count as a whole."""
    found = set()
    for node in nodes:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found |= {id(s.value) for s in node.body if isinstance(s, ast.Expr)}
        elif isinstance(node, ast.JoinedStr):
            found |= {id(part) for part in node.values if isinstance(part, ast.Constant)}
        elif isinstance(node, ast.FormattedValue) and node.format_spec:
            found |= {id(part) for part in ast.walk(node.format_spec)}
        elif isinstance(node, ast.keyword) and node.arg in ("elem_classes", "elem_id", "pattern"):
            found |= {id(part) for part in ast.walk(node.value)}
    return found


def _drawn(call: ast.Call) -> Iterator[ast.expr]:
    """What a call certainly shows: labels of widgets, settings and their choices, errors."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    yield from (k.value for k in call.keywords if k.arg in LABELS)
    if name == "setting":
        yield from call.args[2:4]
        yield from (each for k in call.keywords if k.arg == "choices" and hasattr(k.value, "elts")
                    for each in k.value.elts if not re.search(r"[\d_]", each.value))
    if name in DRAWN:
        yield from call.args[:3]


def _with_holes(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return ""
    return "".join(part.value if isinstance(part, ast.Constant) else "{0}" for part in node.values)


def _without_tags(text: str) -> Iterator[str]:
    """The pieces of text between tags, each with its holes numbered."""
    for piece in re.split(r"<[^<>]*(?:>|$)|\n", text) if "</" in text else text.split("\n"):
        if piece.strip():
            yield numbered(piece.strip())


def numbered(text: str) -> str:
    numbers = iter(range(1, 100))
    return re.sub(r"\{\d+\}", lambda _: f"{{{next(numbers)}}}", text)


def _is_told(text: str, is_page: bool) -> bool:
    plain = HOLE.sub("x", text)
    is_code = re.search(r"[<>\\=_]|::|td-|\{\"|https?:|\w\.\w+\(", plain)
    if is_code or not re.search("[a-z]{2}", plain):
        return False
    is_sentence = re.match(r"['\"(]?[A-Zx].*[A-Za-z]", plain) and re.search(
        "[A-Za-z]{2,}.* .*[A-Za-z]{2,}", plain)
    in_words = is_page and re.search(r"[a-z]{3}", HOLE.sub("", text)) and " " in text
    return bool(is_sentence or in_words)


def _in_script(path: Path) -> Iterator[tuple[str, int]]:
    """Strings of a script that a person reads; `${...}` of a template is a hole."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = re.sub(r"(^|\s)//.*", "", line)
        said = {m[1] for m in re.finditer(r'say\("((?:[^"\\]|\\.)*)"', line)}
        for found in re.finditer(r'"((?:[^"\\]|\\.)*)"|`((?:[^`$]|\$\{[^`{}]*\})*)`', line):
            text = found[1] if found[1] is not None else re.sub(r"\$\{[^}]*\}", "{0}", found[2])
            text = numbered(text.strip())
            if text in said or found[1] in said or _is_read(text):
                yield text, number


def _is_read(text: str) -> bool:
    if re.search(r"td-|[<>#=\[\]]|^[a-z]+-[a-z-]+$|\w\(", text):
        return False
    return bool(re.match(r"[A-Z(].*[a-z]", text) or re.search(r"[a-z]{2,} .*[a-z]{2}", text))

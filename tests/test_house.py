"""The house rules that a machine can hold."""

import ast
import re
from pathlib import Path

import pytest

from ui.scripts import VIEWS

ROOT = Path(__file__).parents[1]
MODULES = sorted([*ROOT.glob("core/**/*.py"), *ROOT.glob("ui/**/*.py"), ROOT / "app.py"])
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
         for path in MODULES if path.exists()}
each_module = pytest.mark.parametrize("module", TREES)

# A room may import from itself and from those named here; files of core's own, like config.py,
# are open to all.
LATE = {"training", "evaluation", "chat", "export"}
MAY_IMPORT = {
    "data": set(), "model": set(), "training": {"data", "model"},
    "evaluation": {"data", "model", "training", "chat"},
    "chat": {"data", "model", "training"},
    "export": {"data", "model", "training"},
}
# The rooms of core/data, in the order a row goes through them.
DATA_MAY_IMPORT = {
    "reading": set(), "messages": {"reading"}, "choosing": {"messages"},
    "changing": {"messages", "choosing"}, "tokens": {"messages"},
    "looking": {"messages", "choosing", "changing", "tokens"},
}
DOORS = {"core/desk.py", "core/process.py"}  # put rooms together for a process of their own
LONGEST_FILE, LONGEST_FUNCTION, LONGEST_TAB = 300, 60, 80


def imports(tree: ast.AST) -> set[str]:
    """The full names of all modules that are imported, wherever that stands."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this house"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def rooms(tree: ast.AST) -> set[str]:
    """The folders of core that are imported from."""
    return {name.split(".")[1] for name in imports(tree)
            if name.startswith("core.") and name.split(".")[1] in MAY_IMPORT}


@pytest.mark.parametrize("module", [m for m in TREES if m.startswith("core/")])
def test_core_knows_neither_gradio_nor_the_page(module):
    tops = {name.split(".")[0] for name in imports(TREES[module])}
    assert not tops & {"gradio", "ui", "app"}


@pytest.mark.parametrize("module", [m for m in TREES if m.startswith("ui/")])
def test_the_page_does_not_know_the_app(module):
    assert "app" not in {name.split(".")[0] for name in imports(TREES[module])}


@pytest.mark.parametrize("module", [m for m in TREES if m.startswith("core/")])
def test_data_flows_one_way_inside_core(module):
    parts = module.split("/")
    if module in DOORS:
        return
    own = parts[1] if len(parts) > 2 else ""
    allowed = MAY_IMPORT.get(own, set()) | {own}
    assert rooms(TREES[module]) <= allowed


@pytest.mark.parametrize("room", DATA_MAY_IMPORT)
def test_a_row_goes_one_way_through_the_rooms_of_data(room):
    found = {name.split(".")[2] for module, tree in TREES.items()
             if module.startswith(f"core/data/{room}/") for name in imports(tree)
             if name.startswith("core.data.")}
    assert found & set(DATA_MAY_IMPORT) <= DATA_MAY_IMPORT[room] | {room}


@pytest.mark.parametrize("module", [m for m in TREES if m.startswith("ui/tabs/")])
def test_a_tab_does_not_know_another_tab(module):
    own = module.removesuffix(".py").replace("/", ".")
    others = {name for name in imports(TREES[module]) if name.startswith("ui.tabs.")}
    assert all(name.startswith(own) for name in others)


@each_module
def test_nothing_is_global(module):
    assert not [node.lineno for node in ast.walk(TREES[module]) if isinstance(node, ast.Global)]


OWNERS = {"Services", "Queue", "Process", "Launcher", "Desk", "Talk", "Thread", "Lock", "Popen"}


@pytest.mark.parametrize("module", [m for m in TREES if m != "app.py"])
def test_only_the_app_makes_long_lived_objects(module):
    for statement in TREES[module].body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Expr)):
            made = {getattr(call.func, "attr", getattr(call.func, "id", ""))
                    for call in ast.walk(statement) if isinstance(call, ast.Call)}
            assert not made & OWNERS, f"line {statement.lineno}"


@each_module
def test_a_module_opens_with_its_role(module):
    text = ast.get_docstring(TREES[module])
    assert text and text.splitlines()[0].endswith((".", ":"))


@each_module
def test_a_file_is_short(module):
    assert len((ROOT / module).read_text(encoding="utf-8").splitlines()) < LONGEST_FILE


@each_module
def test_a_function_is_short(module):
    longest = LONGEST_TAB if module.startswith("ui/") else LONGEST_FUNCTION
    for node in ast.walk(TREES[module]):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < longest, node.name


@each_module
def test_no_error_is_swallowed(module):
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno} catches everything"
            assert not all(isinstance(part, ast.Pass) for part in node.body), f"line {node.lineno}"


@pytest.mark.parametrize("module", [m for m in TREES if m.startswith("core/")])
def test_signatures_of_core_are_annotated(module):
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith(("_", "on_")):
            named = node.args.args + node.args.kwonlyargs
            where = f"{node.name}, line {node.lineno}"
            assert all(a.annotation for a in named if a.arg not in ("self", "cls")), where
            assert node.returns is not None, where


def test_the_page_opens_before_torch_is_loaded():
    """What app.py and ui/ import, directly or through core, has no torch at the top of a file."""
    seen, waiting = set(), [m for m in TREES if m == "app.py" or m.startswith("ui/")]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        top = ast.Module([s for s in TREES[module].body
                          if isinstance(s, (ast.Import, ast.ImportFrom))], [])
        names = imports(top)
        heavy = {"torch", "transformers", "peft", "datasets"}
        assert not {name.split(".")[0] for name in names} & heavy, module
        waiting += [path for name in names
                    if (path := name.replace(".", "/") + ".py") in TREES]


DEFINED = re.compile(r"^(?:async )?(?:function|const|let) (\w+)", re.MULTILINE)


def joined(scripts: tuple[str, ...]) -> str:
    return "".join((ROOT / "assets" / name).read_text(encoding="utf-8") for name in scripts)


@pytest.mark.parametrize("view", VIEWS)
def test_no_name_stands_for_two_things_in_scripts_that_are_joined(view):
    names = DEFINED.findall(joined(VIEWS[view]))
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_calls_no_function_that_only_another_view_has(view):
    text = joined(VIEWS[view])
    elsewhere = {name for scripts in VIEWS.values() for name in DEFINED.findall(joined(scripts))}
    called = set(re.findall(r"(?<![\w.$])(\w+)\(", re.sub(r"//.*", "", text)))
    own = set(re.findall(r"(?:function|const|let) (\w+)|, (\w+) = ", text))
    own = {name for pair in own for name in pair}
    assert not called & elsewhere - own


@pytest.mark.parametrize("sheet", ["style.css", "runs.css", "concepts.css"])
def test_no_class_of_the_style_is_described_twice(sheet):
    """Two views that use one name spoil each other's layout."""
    text = re.sub(r"/\*.*?\*/", "", (ROOT / "assets" / sheet).read_text(encoding="utf-8"),
                  flags=re.DOTALL)
    outside = re.sub(r"@[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", "", text)
    selectors = re.findall(r"([^{}]+)\{[^{}]*\}", outside)
    names = [" ".join(each.split()) for each in selectors]
    assert sorted(names) == sorted(set(names))

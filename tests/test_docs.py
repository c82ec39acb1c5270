"""What the guides and the map of the files say is so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "bench/README.md"])


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def mapped() -> set[str]:
    """The files and folders of the table of roles; a name without a folder lies beside the one
    before it."""
    found = set()
    for line in text_of(CONTRIBUTING).splitlines():
        folder = ""
        if line.startswith("| `"):
            for name in re.findall(r"`([^`]+)`", line.split("|")[1]):
                head, slash, tail = name.rstrip("/").rpartition("/")
                folder = head + slash if slash else folder
                found.add(folder + tail + ("/" if name.endswith("/") else ""))
    return found


def test_every_file_has_its_role_in_the_map():
    modules = [path.relative_to(ROOT).as_posix()
               for path in [ROOT / "app.py", *ROOT.glob("core/**/*.py"), *ROOT.glob("ui/**/*.py")]
               if path.name != "__init__.py"]
    known = mapped()
    folders = tuple(name for name in known if name.endswith("/"))
    missing = [name for name in modules if name not in known and not name.startswith(folders)]
    assert not missing, f"add these to the table in CONTRIBUTING.md: {missing}"


def test_the_map_names_nothing_that_is_gone():
    gone = [name for name in mapped() if not (ROOT / name).exists()]
    assert not gone, f"these are in the table in CONTRIBUTING.md and nowhere else: {gone}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text_of(page)):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target

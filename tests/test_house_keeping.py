"""What carries the project: the container, the licences, the audit, the steps of CONTRIBUTING."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import app as program

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def orders(name: str) -> list[str]:
    """The arguments of each instruction of this name."""
    return re.findall(rf"^{name} +(.*)$", DOCKERFILE, re.MULTILINE)


def is_sent(path: str) -> bool:
    """Whether .dockerignore lets the builder have it."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and line[0] != "#" and fnmatch.fnmatch(path, line.lstrip("!")):
            sent = line[0] == "!"
    return sent


def test_all_that_the_container_copies_is_there():
    copied = [name for order in orders("COPY") for name in order.split()[:-1]]
    assert {"app.py", "core", "ui", "assets", "requirements.txt", "LICENSE"} == set(copied)
    for name in copied:
        assert (ROOT / name).exists() and is_sent(name), name
    assert not is_sent(".git") and not is_sent("build") and not is_sent("tests")


def test_all_that_the_program_imports_of_its_own_is_copied():
    own = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    for path in [ROOT / "app.py", *ROOT.glob("core/**/*.py"), *ROOT.glob("ui/**/*.py")]:
        names = re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.M)
        assert set(names) & own <= {"core", "ui"}, path


def test_the_containers_command_is_known_and_demands_a_password(monkeypatch, folders):
    from core.errors import UserError
    from ui.launch import Listening

    assert json.loads(orders("ENTRYPOINT")[0]) == ["python", "app.py"]
    command = json.loads(orders("CMD")[-1])
    monkeypatch.setattr(sys, "argv", ["app.py", *command])
    options = program._arguments()
    assert orders("EXPOSE") == [str(options.port)] and options.no_browser
    with pytest.raises(UserError, match="no password"):
        Listening(options.port, options.host).middleware(folders)


def test_the_container_has_no_rights_and_keeps_all_in_its_volume():
    lines = DOCKERFILE.splitlines()
    user = next(line for line in lines if line.startswith("USER "))
    assert user.split()[1] not in ("root", "0")
    assert lines.index(user) < next(i for i, each in enumerate(lines) if each.startswith("ENTRY"))
    [volume] = orders("VOLUME")
    assert f"TUNEDESK_HOME={volume}" in DOCKERFILE and f"HF_HOME={volume}/" in DOCKERFILE
    assert re.search(rf"--owner {user.split()[1]} {volume}\b", DOCKERFILE)


@pytest.mark.parametrize("variant, code", [("cpu", 0), ("cuda", 0), ("mps", 1)])
def test_both_variants_install_the_pinned_torch_and_no_other_is_taken(variant, code, tmp_path):
    """The step that installs, run with a pip that only tells what it was asked."""
    step = next(order for order in orders("RUN") if "VARIANT" in order)
    (tmp_path / "pip").write_text('#!/bin/sh\necho "pip $@"\n')
    (tmp_path / "pip").chmod(0o755)
    done = subprocess.run(["sh", "-c", step], cwd=ROOT, capture_output=True, text=True, check=False,
                          env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "VARIANT": variant})
    assert done.returncode == code, done.stderr
    assert ("whl/cpu" in done.stdout) == (variant == "cpu")
    pinned = re.search(r"^torch==\S+", (ROOT / "requirements.txt").read_text(), re.M).group()
    assert (f"pip install --no-cache-dir {pinned} " in done.stdout) == (variant == "cpu")
    assert ("-r requirements.txt" in done.stdout) == (code == 0)


def test_commands_of_the_readme_for_containers_are_well_formed():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^    (docker .*?)(?:  +#.*)?$", text, re.M)
    assert len(found) == 4
    for words in map(shlex.split, found):
        assert words[1] in ("build", "run") and "tunedesk" in words
        if words[1] == "run":
            assert f"tunedesk:{orders('VOLUME')[0]}" in words
        if "-p" in words:
            assert words[words.index("-p") + 1] == f"127.0.0.1:7860:{orders('EXPOSE')[0]}"


def test_the_licence_is_whole_and_everything_shipped_names_its_own():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text
    for folder in (ROOT / "assets/samples").iterdir():
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        assert about["license"] and about["origin"], folder
        assert len((folder / "LICENSE.txt").read_text(encoding="utf-8")) > 200, folder
    for entry in json.loads((ROOT / "assets/catalogue.json").read_text(encoding="utf-8")):
        assert entry["license"], entry["id"]


def test_the_audit_is_skipped_with_words_where_no_index_is_reached():
    nowhere = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTPS_PROXY")}
    done = subprocess.run([ROOT / ".ci/audit"], capture_output=True, text=True, check=False,
                          timeout=120, env=os.environ | nowhere | {
                              "no_proxy": "", "NO_PROXY": "", "PYTHON": sys.executable})
    assert done.returncode == 0 and "skipped" in done.stdout, done.stderr


DIFFS = re.findall(r"^```diff\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
                   re.MULTILINE | re.DOTALL)
LAYOUT = """
from core.data.messages.layouts import LAYOUTS
from core.settings.data import DataSettings
choices = DataSettings.__dataclass_fields__["layout"].metadata["choices"]
assert set(choices) == {"auto", *LAYOUTS}
"""
METRIC = """
from core import likeness
assert likeness.same_length("one two", "one two three four") == 0.5
assert likeness.same_length("", "") == 0 and likeness.same_length("a", "b") == 1
"""
SETTING = """
from core.config import Config
assert Config().adam_beta2 == 0.999 and Config.parse({"adam_beta2": "0.95"}).adam_beta2 == 0.95
"""
CHECKS = [
    ("setting", SETTING, ["tests/test_config.py", "-k", "every_setting"]),
    ("layout", LAYOUT, ["tests/data/test_layouts.py"]),
    ("metric", METRIC, ["tests/evaluation/test_evaluate.py", "-x"]),
]


each_step = pytest.mark.parametrize("number, what", list(enumerate(n for n, *_ in CHECKS)))


@pytest.fixture
def copy(tmp_path) -> Path:
    """The program, to be changed."""
    for name in ("core", "ui", "assets", "tests", "bench"):
        shutil.copytree(ROOT / name, tmp_path / name,
                        ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    for name in ("app.py", "pytest.ini", "ruff.toml", "CONTRIBUTING.md", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@each_step
def test_the_steps_of_contributing_fit_the_code(number, what, copy):
    change(copy, DIFFS[number])
    check = CHECKS[number][1]
    subprocess.run([sys.executable, "-c", check], cwd=copy, check=True, timeout=120)
    subprocess.run([sys.executable, "-m", "ruff", "check", "--quiet", "core"], cwd=copy, check=True)


@pytest.mark.slow
@each_step
def test_the_tests_that_contributing_names_hold_after_its_steps(number, what, copy):
    change(copy, DIFFS[number])
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                    *CHECKS[number][2]], cwd=copy, check=True, timeout=500)
    listed = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                             "tests/language", "-k", "lacks"], cwd=copy, capture_output=True,
                            text=True, check=False, timeout=120)
    assert listed.returncode == 1  # its sentences are there, and ask for their translation
    assert {"setting": "Adam beta 2", "layout": "Terms and their meanings",
            "metric": "As long as wanted"}[what] in listed.stdout


def change(copy: Path, diff: str) -> None:
    done = subprocess.run(["git", "apply", "--unidiff-zero", "-C1", "-"], cwd=copy, input=diff,
                          text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr

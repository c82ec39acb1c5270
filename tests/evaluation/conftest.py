"""What the tests of evaluation share: a tuned run of the tiny model on short labelled rows."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.config import Config
from core.evaluation.evaluate import Request, evaluate
from core.files import Folders
from core.training import engine, run
from tests.conftest import ROOT

GOOD = ("good", "fine", "lovely", "great", "bright", "warm", "kind", "strong")
BAD = ("bad", "dull", "ugly", "poor", "dark", "cold", "mean", "weak")
SMALL = {"rows": 32, "written": 4, "max_new_tokens": 4}
THINGS = ("film", "book", "meal", "song", "play", "trip", "room", "game")


@pytest.fixture(scope="session")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """128 rows with the labels yes and no; half of each has a group column."""
    rows = [{"text": f"a {word} {thing}", "label": label, "who": "old" if n % 2 else "young"}
            for label, words in (("yes", GOOD), ("no", BAD))
            for word in words for n, thing in enumerate(THINGS)]
    path = tmp_path_factory.mktemp("rows") / "verdicts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tuned(tiny_model: Path, verdicts: Path, tmp_path_factory: pytest.TempPathFactory) -> run.Run:
    """A run that has learned most of the verdicts, with its last checkpoint."""
    folders = Folders(tmp_path_factory.mktemp("home") / "home", ROOT / "assets").make()
    config = Config(dataset=str(verdicts), base_model=str(tiny_model), base_weights="32bit",
                    precision="fp32", eval_rows=32, max_length=128, batch_size=16, epochs=6,
                    lora_dropout=0.0, learning_rate=1e-2, save_every="epoch", save_total_limit=1,
                    sample_answers=3)
    made = run.create(config, folders.runs)
    engine.train(made, folders)
    assert made.last_checkpoint()
    return made


@pytest.fixture(scope="session")
def tuned_home(tuned: run.Run) -> Folders:
    """The data folder in which it lies; other tests may add runs of theirs."""
    return Folders(tuned.folder.parents[1], ROOT / "assets")


@pytest.fixture
def unbiased(tuned: run.Run) -> Config:
    return replace(tuned.config(), eval_rows=16)


@pytest.fixture(scope="session")
def evaluation(tuned: run.Run, tuned_home: Folders) -> dict:
    """The base model, the run and its last checkpoint on the same rows."""
    asked = Request((tuned.id, f"{tuned.id}@{tuned.last_checkpoint().name}"),
                    group_column="who", pattern="^y", **SMALL)
    return list(evaluate(asked, tuned_home))[-1]["evaluation"]

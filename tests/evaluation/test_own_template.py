"""A run is judged, merged and exported by the chat template with which it was trained."""

import shutil
from dataclasses import replace

import pytest

from core.chat.loaded import Loaded
from core.data.tokens.plain import NAMED
from core.errors import UserError
from core.evaluation import evaluate as judging
from core.evaluation.chain import forgetting_matrix
from core.evaluation.evaluate import Request, evaluate
from core.evaluation.merge import merge
from core.model import load
from core.training.run import Run, create

ALPACA = "Below is an instruction"


@pytest.fixture
def by_alpaca(tuned, tuned_home):
    """A copy of the tuned run whose settings name another chat template than the model's own."""
    def copied() -> Run:
        made = create(replace(tuned.config(), chat_template="alpaca"), tuned_home.runs)
        shutil.copytree(tuned.adapter, made.adapter)
        made.update(state="finished")
        runs.append(made)
        return made
    runs: list[Run] = []
    yield copied
    for made in runs:
        shutil.rmtree(made.folder)


@pytest.fixture
def read(monkeypatch, tokenizer) -> list[str]:
    """What models are asked, as text."""
    seen: list[str] = []

    def spied(model, asked, joins):
        seen.extend(tokenizer.decode(each.prefix) for each in asked)
        return genuine(model, asked, joins)
    genuine = judging.score
    monkeypatch.setattr(judging, "score", spied)
    monkeypatch.setattr("core.evaluation.chain.score", spied)
    return seen


def test_rows_are_asked_in_the_runs_own_template(by_alpaca, tuned, tuned_home, read):
    asked = Request((by_alpaca().id,), rows=4, written=2, max_new_tokens=2, forgetting=False,
                    fairness=False)
    list(evaluate(asked, tuned_home))
    assert len(read) == 8 and all(text.startswith(ALPACA) for text in read)
    read.clear()
    list(evaluate(replace(asked, runs=(tuned.id,)), tuned_home))
    assert read and not any(ALPACA in text for text in read)


def test_runs_of_different_templates_are_not_judged_or_merged_together(by_alpaca, tuned,
                                                                       tuned_home):
    other = by_alpaca().id
    with pytest.raises(UserError, match="chat template"):
        list(evaluate(Request((tuned.id, other)), tuned_home))
    with pytest.raises(UserError, match="chat template"):
        merge([tuned.id, other], [0.5, 0.5], "cat", tuned_home)


def test_a_merged_run_keeps_the_template(by_alpaca, tuned_home):
    mixed = merge([by_alpaca().id, by_alpaca().id], [0.5, 0.5], "cat", tuned_home)
    assert load.load_tokenizer(mixed.adapter).chat_template == NAMED["alpaca"]
    assert mixed.config().chat_template == "alpaca"
    shutil.rmtree(mixed.folder)


def test_each_stage_of_a_chain_is_asked_in_its_own_template(by_alpaca, tuned, tuned_home, read,
                                                            tiny_model):
    loaded = Loaded(load.load_base(tiny_model, *_plainly(tuned.config())),
                    load.load_tokenizer(tiny_model))
    list(forgetting_matrix([tuned, by_alpaca()], loaded, 3, tuned_home))
    of_a_model = [text.startswith(ALPACA) for text in read[:6]]
    assert of_a_model == [False] * 3 + [True] * 3


def _plainly(config):
    from core.model.hardware import choose_formats, find_device

    device = find_device()
    return choose_formats(config, device), config, device

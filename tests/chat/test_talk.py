"""The chat process's object: any run or checkpoint of one base model, one caller at a time."""

import json
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from core.chat.talk import Talk
from core.errors import UserError
from core.training import run as runs

SAMPLING = {"temperature": 0, "max_new_tokens": 12}
ASKED = [{"role": "user", "content": "What colour has snow?"}]


@pytest.fixture
def tuned(folders, quick):
    """A run with an adapter and a checkpoint that says other things."""
    made = runs.create(quick, folders.runs)
    for seed, folder in enumerate((made.adapter, made.checkpoints / "checkpoint-4")):
        torch.manual_seed(seed)
        adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(quick.base_model),
                                 LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.3)
        adapted.save_pretrained(folder)
    return made.id


@pytest.fixture
def talk(folders):
    return Talk(folders)


def last(items):
    *_, final = items
    return final


def test_base_run_and_checkpoint_answer_side_by_side(talk, tuned, quick):
    models = ["", tuned, f"{tuned}/checkpoint-4"]
    told = last(talk.answer({}, models, ASKED, SAMPLING))
    assert told["together"] and told["done"] and len(set(told["texts"])) == 3
    assert [last(talk.answer({}, [m, tuned], ASKED, SAMPLING))["texts"][0]
            for m in models] == told["texts"]
    assert told["context"] == 512 and all(
        a["prompt_tokens"] > 5 and a["tokens"] == 12 for a in told["answers"])


def test_what_is_told_can_cross_the_pipe(talk, quick):
    for item in talk.answer(quick.to_dict(), [""], ASKED, SAMPLING):
        assert json.loads(json.dumps(item)) == item


def test_phases_come_before_the_first_token(talk, quick):
    items = list(talk.answer(quick.to_dict(), [""], ASKED, SAMPLING))
    kinds = ["phase" in item for item in items]
    assert kinds == sorted(kinds, reverse=True)
    assert any("Loading" in item.get("phase", "") for item in items)


def test_a_call_is_told_to_stop_one_column_while_it_is_at_work(talk, tuned, monkeypatch):
    monkeypatch.setattr("core.chat.generate.YIELD_SECONDS", 0.0)
    answers = talk.answer({}, ["", tuned], ASKED, SAMPLING | {"max_new_tokens": 60}, ticket="t")
    for item in answers:
        if item.get("answers"):
            talk.tell("t", 0, "stop")
            break
    ended = [a["ended_by"] for a in last(answers)["answers"]]
    assert ended[0] == "person" and ended[1] in ("length", "end")
    talk.tell("t", 0, "stop")  # it is over; nothing happens


def test_a_caller_that_goes_away_leaves_the_way_free(talk, quick):
    waiting = talk.answer(quick.to_dict(), [""], ASKED, SAMPLING)
    next(item for item in waiting if "texts" in item)
    waiting.close()
    assert last(talk.answer(quick.to_dict(), [""], ASKED, SAMPLING))["done"]


def test_a_caller_that_waits_can_leave_while_another_is_answered(talk, quick):
    first = talk.answer(quick.to_dict(), [""], ASKED, SAMPLING)
    next(item for item in first if "texts" in item)
    waiting = talk.answer(quick.to_dict(), [""], ASKED, SAMPLING)
    assert [next(waiting)["phase"] for _ in range(3)] == ["Waiting for the model"] * 3
    waiting.close()
    assert last(first)["done"]
    assert last(talk.answer(quick.to_dict(), [""], ASKED, SAMPLING))["done"]


def test_many_prompts_are_answered_and_scored(talk, tuned):
    rows = [{"prompt": "What colour has snow?", "answer": "white"}, {"prompt": "And coal?"}]
    items = list(talk.answer_many({}, ["", tuned], rows, SAMPLING))
    done = [item["row"] for item in items if "row" in item]
    assert [row["prompt"] for row in done] == [row["prompt"] for row in rows]
    assert [len(row["scores"]) for row in done] == [2, 0]
    assert done[0]["scores"][0] != done[0]["scores"][1]
    alone = last(talk.score({}, ["", tuned], ASKED, "white"))
    assert alone == done[0]["scores"]


def test_a_prompt_that_is_too_long_is_left_out_and_the_others_are_answered(talk, tuned):
    rows = [{"prompt": "x"}, {"prompt": "word " * 600}, {"prompt": "y"}]
    items = list(talk.answer_many({}, ["", tuned], rows, SAMPLING))
    assert [item["row"]["prompt"] for item in items if "row" in item] == ["x", "y"]
    assert [item["at"] for item in items if "this model reads 512" in item.get("left_out", "")] == [
        2]


def test_runs_of_different_base_models_are_refused(talk, tuned, quick, other_model, folders):
    other = runs.create(replace(quick, base_model=str(other_model)), folders.runs)
    with pytest.raises(UserError, match="different base models"):
        list(talk.answer({}, [tuned, other.id], ASKED, SAMPLING))


@pytest.mark.parametrize("who", ["checkpoint-99", "../../adapter", ".."])
def test_a_checkpoint_that_isnt_there_is_told(talk, tuned, who):
    with pytest.raises(UserError):
        list(talk.answer({}, [f"{tuned}/{who}"], ASKED, SAMPLING))


def test_an_empty_message_is_told(talk, quick):
    with pytest.raises(UserError, match="empty"):
        list(talk.answer(quick.to_dict(), [""], [{"role": "user", "content": " "}], SAMPLING))

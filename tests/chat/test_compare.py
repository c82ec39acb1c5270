"""Comparing honestly: differences, votes with their interval, reports that hold what was said."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from core.chat import votes
from core.chat.difference import against_first, differences
from core.chat.report import Report, mean_scores, to_html, to_markdown
from ui.files import MOST_OFFERED, offer
from ui.tabs import compare_many

ROW = {"prompt": "Say <b>hello</b>", "answer": "hello", "answers": [
    {"text": "hello world"}, {"text": "hello <script>alert(1)</script> ```moon```"}],
    "scores": [{"log_probability": -2.0, "tokens": 1}, {"log_probability": -0.5, "tokens": 1}]}


def test_pieces_join_to_what_was_said():
    one, other = "The snow is white, and cold.", "The snow was white  and wet."
    left, right = differences(one, other)
    assert "".join(text for text, _ in left) == one
    assert "".join(text for text, _ in right) == other


def test_only_words_that_the_other_lacks_are_marked():
    left, right = differences("snow is white", "snow was white")
    assert [t for t, same in left if not same] == ["is"]
    assert [t for t, same in right if not same] == ["was"]
    assert all(same for _, same in against_first(["a b", "a b"])[1])


@pytest.mark.parametrize("successes, total, low, high", [
    (5, 10, 0.237, 0.763), (0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (0, 0, 0.0, 1.0)])
def test_the_interval_is_wilsons(successes, total, low, high):
    assert votes.wilson(successes, total)[1:] == pytest.approx((low, high), abs=0.001)


def test_votes_count_for_the_pair_whichever_stood_left(tmp_path):
    for models, winner in ((("", "run"), "run"), (("run", ""), "run"), (("run", ""), ""),
                           (("", "run"), votes.TIE), (("", "other"), "")):
        votes.vote(tmp_path, models, "prompt", winner)
    counted = votes.count(tmp_path, ("", "run"))
    assert (counted.first, counted.second, counted.ties) == (1, 2, 1)
    assert not counted.is_sure


def test_many_votes_one_way_are_sure(tmp_path):
    for _ in range(9):
        votes.vote(tmp_path, ("a", "b"), "p", "b")
    assert votes.count(tmp_path, ("a", "b")).is_sure


def test_a_report_holds_prompts_answers_settings_and_votes():
    report = Report(["Base model", "run-1"], [ROW], {"temperature": 0, "seed": 42}, "1 to 2")
    for text in (to_html(report), to_markdown(report)):
        for wanted in ("run-1", "world", "seed", "42", "1 to 2", "moon", "-0.500"):
            assert wanted in text


def test_nothing_a_model_said_runs_in_the_report():
    page = to_html(Report(["<i>m</i>", "n"], [ROW], {}))
    assert "<script>" not in page and "<b>hello" not in page and "<i>m" not in page
    assert "http" not in page  # it needs nothing from elsewhere


def test_a_fence_in_an_answer_doesnt_end_the_reports_own():
    assert "````\nhello <script>" in to_markdown(Report(["a", "b"], [ROW], {}))


def test_mean_scores_weigh_every_token_alike():
    rows = [ROW, ROW | {"scores": [{"log_probability": -4.0, "tokens": 3},
                                   {"log_probability": -3.5, "tokens": 3}]}]
    assert mean_scores(rows) == [-1.5, -1.0]
    assert mean_scores([ROW | {"scores": []}]) == []


def test_a_reports_votes_are_those_of_its_two_models(folders):
    for winner in ("run", "run", ""):
        votes.vote(folders.home, ("run", ""), "prompt", winner)
    services = SimpleNamespace(folders=folders)
    report = compare_many.write_reports(["", "run"], [ROW], {}, services)[1]["value"]
    text = Path(report).read_text(encoding="utf-8")
    assert "Blind votes: Base model: 1 · run: 2 · ties: 0. run is preferred in 67%" in text
    other = compare_many.write_reports(["", "other"], [ROW], {}, services)[1]["value"]
    assert "votes" not in Path(other).read_text(encoding="utf-8")


def test_a_file_to_save_stays_as_it_was_when_another_page_writes_its_own(folders):
    one, two = (offer(folders.temporary, "chat.json", text) for text in ("one", "two"))
    assert [Path(path).read_text() for path in (one, two)] == ["one", "two"]
    assert offer(folders.temporary, "chat.json", "one") == one
    for number in range(MOST_OFFERED + 5):
        offer(folders.temporary, "chat.json", str(number))
    assert len(list((folders.temporary / "offered").iterdir())) == MOST_OFFERED

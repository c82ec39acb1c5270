"""Parts of the data grow to all of it, and the curve says whether more would help."""

import pytest

from core.config import Config
from core.errors import UserError
from core.evaluation.data_size import part_configs, size_curve


def evaluation(losses: list[float]) -> dict:
    return {"models": [{"id": str(n)} for n in range(len(losses))],
            "tables": [{"numbers": [{"key": "loss", "values": [{"value": v} for v in losses]}]}]}


def test_parts_grow_to_all_rows_and_keep_all_else():
    config = Config(learning_rate=3e-4)
    parts = part_configs(config, 320)
    assert [p.train_rows for p in parts] == [40, 80, 160, 320]
    assert {p.learning_rate for p in parts} == {3e-4}


def test_too_few_rows_are_refused_with_words():
    with pytest.raises(UserError, match="63"):
        part_configs(Config(), 63)


@pytest.mark.parametrize("losses, helps", [([4, 2, 1.5, 1.0], True), ([4, 2, 1.5, 1.49], False)])
def test_the_last_doubling_says_whether_more_would_help(losses, helps):
    found = size_curve(evaluation(losses), {"1": 40, "2": 80, "3": 160})
    assert found["points"] == list(zip((40, 80, 160), losses[1:], strict=True))
    assert ("help further" in found["words"]) == helps


def test_two_sizes_are_no_curve():
    assert size_curve(evaluation([4, 2, 1]), {"1": 40, "2": 80}) is None

"""The base model says questions in other words; what it wrote is kept, and asked for only once."""

import json

from core.chat.talk import Talk
from core.config import Config
from core.data.changing import paraphrase


def test_a_paraphrase_is_written_by_the_model_and_kept_usable_or_not(folders, tiny_model):
    config = Config(base_model=str(tiny_model), base_weights="32bit", paraphrase_share=1.0)
    texts = [("Is the film good?", ["good"]), ("这部电影好看吗？", [])]
    reports = list(Talk(folders).paraphrase(config.to_dict(), texts))
    assert reports[-1]["words"].startswith("2 questions were rewritten")
    assert [report["share"] for report in reports if report.get("share") is not None] == [0, 0.5]
    kept = [json.loads(line) for line in paraphrase.store(config, folders).open(encoding="utf-8")]
    assert [record["text"] for record in kept] == [text for text, _ in texts]
    assert all(record["answer"] for record in kept)
    assert paraphrase.kept(config, folders).keys() == {text for text, _ in texts}


def test_stopping_keeps_what_was_written(folders, tiny_model):
    config = Config(base_model=str(tiny_model), base_weights="32bit", paraphrase_share=1.0)
    writing = Talk(folders).paraphrase(config.to_dict(), [("One?", []), ("Two?", [])])
    for report in writing:
        if report.get("share") == 0.5:
            break
    writing.close()
    assert paraphrase.kept(config, folders).keys() == {"One?"}

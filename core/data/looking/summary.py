"""A survey and its findings as the page shows them."""

from typing import Any

from core.data.build import Opened
from core.data.looking.audit import Finding
from core.data.looking.survey import Survey, histogram, label_counts, language_counts


def opened(found: Opened) -> dict[str, Any]:
    """What is known as soon as a data set is open; rows can be walked from now on."""
    # Pairs are the one layout whose rows are made for another training than this.
    purpose = [found.layout.about.removesuffix(".")] if found.layout.name == "preference" else []
    return {"state": "open", "share": 0.0, "finished": False, "layout": found.layout.name,
            "columns": list(found.raw(found.train[0])), "notes": [*purpose, *found.notes],
            "rows": {"train": len(found.train), "eval": len(found.held_out or ())},
            "facts": [], "histogram": None, "groups": [], "findings": []}


def shown(found: Survey, findings: list[Finding], rows: dict[str, int]) -> dict[str, Any]:
    """`facts` are (label, value); `groups` are {"name", "counts": (name, count)}."""
    train = found.parts["train"]
    groups = [{"name": name, "counts": counts} for name, counts in (
        ("Labels", label_counts(train)), ("Languages", _commoner(language_counts(train))),
        ("Where rows come from", train.origins.most_common())) if len(counts) > 1]
    return {"share": found.share, "finished": found.finished, "facts": facts(found, rows),
            "histogram": histogram(train, found.max_length), "groups": groups,
            "findings": [finding.to_dict() for finding in findings]}


def _commoner(counts: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Without those of a single row: a guess from a few words is wrong at times."""
    return [(name, count) for name, count in counts if count > 1]


def facts(found: Survey, rows: dict[str, int]) -> list[tuple[str, str]]:
    """Label and value of the counts, of so many `rows` in each part; "so far" while they are being
    looked at."""
    train = found.parts["train"]
    so_far = ("" if train.done == train.total else " so far") or (
        " of the sample" if rows["train"] > train.total else "")
    used = [i for i in range(train.done) if train.learned[i] and not (
        found.drops_longer and train.tokens[i] > found.max_length)]
    whole = sum(train.tokens[: train.done])
    epoch = sum(train.kept[i] for i in used)
    learned = sum(train.learned[i] for i in used)
    share = learned / epoch if epoch else 0.0
    return [("Training rows", f"{rows['train']:,}"),
            ("Held-out rows", f"{rows['eval']:,}"),
            (f"Tokens{so_far}", f"{whole:,}"),
            (f"Tokens an epoch{so_far}", f"{epoch:,}"),
            (f"Learned an epoch{so_far}", f"{learned:,} ({share:.0%})"),
            (f"Rows left out{so_far}", f"{train.done - len(used):,}")]

"""Which of many runs a person looks for, and in what order."""

from dataclasses import dataclass
from typing import Any

from core.training.run import ACTIVE

LONGEST_SEARCH = 200  # characters; each word is looked for in every run
SORTED_BY = ("created", "name", "state", "loss", "after", "step", "seconds", "size_bytes")


@dataclass(frozen=True)
class Query:
    """`words` must all stand in a run's name, model, data, note or tags. The state 'running' means
    whatever is at work."""

    words: tuple[str, ...] = ()
    state: str = ""
    tag: str = ""
    sort: str = "created"
    falling: bool = True

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> "Query":
        """From what a page sends; what can't be asked for is left out."""
        sort = raw.get("sort")
        search = str(raw.get("search") or "")[:LONGEST_SEARCH]
        return cls(tuple(search.lower().split()), str(raw.get("state") or ""),
                   str(raw.get("tag") or ""), sort if sort in SORTED_BY else "created",
                   bool(raw.get("falling", True)))


def find(summaries: list[dict[str, Any]], query: Query) -> list[dict[str, Any]]:
    """Summaries, as archive.summarize tells them, that fit; what is unknown comes last."""
    found = [each for each in summaries if _fits(each, query)]
    known = [each for each in found if each[query.sort] is not None]
    known.sort(key=lambda each: each[query.sort], reverse=query.falling)
    return known + [each for each in found if each[query.sort] is None]


def _fits(summary: dict[str, Any], query: Query) -> bool:
    state = summary["state"]
    if query.state and state != query.state and (query.state != "running" or state not in ACTIVE):
        return False
    if query.tag and query.tag not in summary["tags"]:
        return False
    if not query.words:
        return True
    text = " ".join((*(summary[each] for each in ("name", "id", "model", "data", "note")),
                     *summary["tags"])).lower()
    return all(word in text for word in query.words)

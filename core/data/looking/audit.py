"""Judges what a survey found: green, amber or red, each finding with its rows and its remedy."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from core.config import Config
from core.data.choosing import choose
from core.data.looking.survey import Facts, Survey, label_counts, language_counts

GREEN, AMBER, RED = "green", "amber", "red"
MOST_ROWS = 100      # of a finding that can be clicked through
ROUND_TO = 64        # tokens; a max length that is proposed
LONGEST_PROPOSED = 8192
FEW_ROWS = 50
AGAINST_HEART = ("More dropout, weight decay and noise",
                 {"lora_dropout": 0.1, "weight_decay": 0.01, "neftune_noise_alpha": 5.0})
TOO_LONG = next(f.metadata["choices"] for f in fields(Config) if f.name == "too_long")
REPEATED = 0.01      # share of rows from which repetition is worth a warning
UNEVEN = 5           # times as many rows of the commonest label as of the rarest
STRAY = (0.0, 0.2)   # a language of so small a share is likelier an accident than a choice


@dataclass(frozen=True)
class Finding:
    """`rows` are (part, index) of rows to look at; `fixes` are (label, settings that mend it)."""

    check: str
    level: str
    words: str
    rows: tuple[tuple[str, int], ...] = ()
    fixes: tuple[tuple[str, dict[str, Any]], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def audit(found: Survey, config: Config, template: str = "") -> list[Finding]:
    """All checks, the gravest first. `template` says in words what is wrong with the model's chat
    template for this data set, if anything. What needs all rows is left out before they are
    seen."""
    train = found.parts["train"]
    checks = [*_nothing_learned(train, config), *_empty(found), *_cut(train, config),
              *_refused(found), *_template(train, template), *_unknown(found), *_personal(found),
              *_languages(found), *_labels(train), *_contradictions(train), *_few(train, config)]
    if found.finished:
        checks += [*_repeated(found, config), *_leaked(found, config)]
    checks = [_of_those_looked_at(finding, found) for finding in checks]
    return sorted(checks, key=lambda finding: (RED, AMBER, GREEN).index(finding.level))


def _of_those_looked_at(finding: Finding, found: Survey) -> Finding:
    """What was not found in a sample may be in the rest; what was found tells its rows itself."""
    seen, rows = (sum(getattr(facts, name) for facts in found.parts.values())
                  for name in ("total", "rows"))
    if finding.level != GREEN or seen == rows:
        return finding
    told = f"Looked at: {seen:,} of {rows:,} rows."
    return replace(finding, words=" ".join((finding.words, told)))


def reds(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level == RED]


def _rows(indices: Iterable[int], part: str = "train") -> tuple[tuple[str, int], ...]:
    return tuple((part, index) for _, index in zip(range(MOST_ROWS), indices, strict=False))


def _of(count: int, facts: Facts) -> str:
    share = count / max(1, facts.done)
    shown = f"{share:.0%}" if share >= 0.01 else "below 1 %"
    return f"{count:,} of {facts.done:,} training rows ({shown})"


def _nothing_learned(train: Facts, config: Config) -> list[Finding]:
    """Rows whose learned tokens all lie beyond the max length, or that have none."""
    found = [i for i in range(train.done) if not train.learned[i] and not train.silent[i]
             and i not in train.refused]
    usable = sum(bool(n) for n in train.learned)
    if not found and usable:
        return [Finding("Teaches something", GREEN, "Every row with an answer teaches something.")]
    if not usable and not found:
        return [Finding("Teaches something", RED, "No training row has a token to learn.",
                        _rows(range(train.done)))] if train.done else []
    level = RED if len(found) * 2 > train.done or not usable else AMBER
    return [Finding("Teaches something", level,
                    f"{_of(len(found), train)} teach nothing: what should be learned lies beyond "
                    "the max length.", _rows(found), _longer(train, config))]


def _empty(found: Survey) -> list[Finding]:
    train = found.parts["train"]
    empty = [i for i, silent in enumerate(train.silent) if silent]
    if not empty:
        return [Finding("Answers", GREEN, "No answer is empty.")]
    level = RED if len(empty) * 2 > train.done else AMBER
    hint = " Perhaps another column is the answer." if level == RED else ""
    return [Finding("Answers", level, f"{_of(len(empty), train)} have no answer and are left out."
                    f"{hint}", _rows(empty))]


def _cut(train: Facts, config: Config) -> list[Finding]:
    cut = [i for i in range(train.done) if train.lost_learned[i]]
    if not cut:
        return [Finding("Cut off", GREEN, "Nothing that should be learned is cut off.")]
    lost = sum(train.lost_learned)
    fixes = _longer(train, config)
    if config.too_long.startswith("cut"):
        words = (f"{_of(len(cut), train)} lose {lost:,} tokens that should be learned, and with "
                 "them their end: the model may learn answers that never stop.")
        if "cut context" in TOO_LONG and config.too_long != "cut context":
            fixes += (("Cut the prompt, keep the answer", {"too_long": "cut context"}),)
        fixes += (("Leave these rows out", {"too_long": "drop"}),)
    else:
        words = f"{_of(len(cut), train)} are longer than the max length."
    return [Finding("Cut off", AMBER, words, _rows(cut), fixes)]


def _longer(train: Facts, config: Config) -> tuple[tuple[str, dict[str, Any]], ...]:
    """The max length at which no row is cut, where a machine can bear it."""
    needed = -(-max(train.tokens, default=0) // ROUND_TO) * ROUND_TO
    if not config.max_length < needed <= LONGEST_PROPOSED:
        return ()
    return ((f"Raise Max length to {needed:,}", {"max_length": needed}),)


def _refused(found: Survey) -> list[Finding]:
    rows = [(part, i) for part, facts in found.parts.items() for i in facts.refused]
    if not rows:
        return []
    first = next(words for facts in found.parts.values() for words in facts.refused.values())
    return [Finding("Readable", RED, f"{len(rows):,} rows can't be read as a dialogue for this "
                    f"model. The first: {first}", tuple(rows[:MOST_ROWS]))]


def _template(train: Facts, template: str) -> list[Finding]:
    findings = [Finding("Template", AMBER, template)] if template else []
    if train.marks:
        marks = Counter(train.marks.values()).most_common(3)
        findings.append(Finding(
            "Template", AMBER, f"{_of(len(train.marks), train)} hold marks of a chat template as "
            f"text ({', '.join(mark for mark, _ in marks)}). The data set was made for another "
            "model or another tool, and the model would learn to write them.", _rows(train.marks)))
    return findings or [Finding("Template", GREEN, "The rows fit the model's chat template.")]


def _unknown(found: Survey) -> list[Finding]:
    rows = [(part, i) for part, facts in found.parts.items()
            for i, count in enumerate(facts.unknown) if count]
    if not rows:
        return [Finding("Characters", GREEN, "The model knows every character.")]
    return [Finding("Characters", AMBER, f"{len(rows):,} rows hold characters that the model "
                    "doesn't know, or that were damaged (\ufffd) when the file was written.",
                    tuple(rows[:MOST_ROWS]))]


def _personal(found: Survey) -> list[Finding]:
    rows = [(part, i) for part, facts in found.parts.items() for i in facts.personal]
    if not rows:
        return [Finding("Personal data", GREEN,
                        "No e-mail address, phone, ID or card number was recognised.")]
    kinds = Counter(kind for facts in found.parts.values()
                    for found_kinds in facts.personal.values() for kind in found_kinds)
    listed = ", ".join(f"{kind} in {count:,}" for kind, count in kinds.most_common())
    return [Finding("Personal data", AMBER, f"{len(rows):,} rows likely hold personal data "
                    f"({listed}). A tuned model may repeat it.", tuple(rows[:MOST_ROWS]),
                    (("Leave out rows with e-mail addresses", {"drop_pattern": r"\S+@\S+\.\w+"}),)
                    if kinds["e-mail"] else ())]


def _languages(found: Survey) -> list[Finding]:
    train = found.parts["train"]
    counts = language_counts(train)
    stray = [name for name, count in counts if STRAY[0] < count / train.done < STRAY[1]
             and count > 1]
    mixed = [i for i, two in enumerate(train.two_languages) if two]
    shares = ", ".join(f"{name} {count / max(1, train.done):.0%}" for name, count in counts[:4])
    if len(train.origins) > 1 or (not stray and len(mixed) < train.done * 0.02):
        return [Finding("Languages", GREEN, f"Languages: {shares or 'not recognised'}.")]
    odd = [i for i, name in enumerate(train.languages) if name in stray] or mixed
    kept = [name for name, _ in counts if name not in stray]
    fixes = ((f"Keep {', '.join(kept)} only", {"languages": kept}),) if stray and kept else ()
    return [Finding("Languages", AMBER, f"The rows are in several languages ({shares}); "
                    f"{_of(len(odd), train)} stand apart.", _rows(odd), fixes)]


def _labels(train: Facts) -> list[Finding]:
    counts = label_counts(train)
    if not counts:
        return []
    (most, many), (least, few) = counts[0], counts[-1]
    if many < UNEVEN * few:
        return [Finding("Labels", GREEN, f"{len(counts)} labels, in balance.")]
    rare = [i for i, said in enumerate(train.said) if said == least]
    return [Finding("Labels", AMBER, f"'{most}' is the answer of {_of(many, train)}, '{least}' of "
                    f"{few:,}. The model may learn to say '{most}' to everything.", _rows(rare))]


def _contradictions(train: Facts) -> list[Finding]:
    """The same question with different labels."""
    if not label_counts(train):
        return []
    by_question: dict[int, list[int]] = defaultdict(list)
    for index, asked in enumerate(train.asked):
        by_question[asked].append(index)
    found = [i for rows in by_question.values() if len({train.said[i] for i in rows}) > 1
             for i in rows]
    if not found:
        return []
    return [Finding("Labels", AMBER, f"{_of(len(found), train)} ask a question that another row "
                    "answers differently.", _rows(found))]


def _few(train: Facts, config: Config) -> list[Finding]:
    if train.total >= FEW_ROWS:
        return []
    copies = () if config.augment_copies else (("Add changed copies", {"augment_copies": 2}),)
    early = (("Stop early", {"early_stopping_patience": 3, "eval_every": "epoch"}),
             ) if config.eval_rows or config.eval_share else ()
    return [Finding("Amount", AMBER, f"{train.total:,} rows are few: the model may learn them by "
                    "heart. 50 or more work better; look at the held-out loss.", (),
                    (*copies, AGAINST_HEART, *early, ("One epoch", {"epochs": 1.0})))]


def _repeated(found: Survey, config: Config) -> list[Finding]:
    train = found.parts["train"]
    copies = found.copies["train"]
    if len(copies) < max(1, REPEATED * train.done):
        few = f" ({len(copies):,} does)" if len(copies) == 1 else \
            f" ({len(copies):,} do)" if copies else ""
        return [Finding("Repeated rows", GREEN, f"Hardly any row repeats another{few}." if few
                        else "No row repeats another.", _rows(copies))]
    pairs = [row for i, first in copies.items() for row in (first, i)]
    return [Finding("Repeated rows", AMBER, f"{_of(len(copies), train)} repeat another one, word "
                    "for word or nearly.", _rows(dict.fromkeys(pairs)), _without(config))]


def _leaked(found: Survey, config: Config) -> list[Finding]:
    if "eval" not in found.parts:
        return []
    leaks = {i: first for i, first in found.leaks.items()
             if not found.parts["train"].changed[i]}
    if not leaks:
        return [Finding("Leakage", GREEN, "No training row repeats a held-out one.")]
    pairs = [row for i, first in leaks.items() for row in (("train", i), ("eval", first))]
    held_out = len(set(leaks.values()))
    return [Finding("Leakage", AMBER, f"{len(leaks):,} training rows repeat {held_out:,} of the "
                    f"{found.parts['eval'].done:,} held-out rows or their questions, so the "
                    "held-out loss will look better than it is.",
                    tuple(dict.fromkeys(pairs))[:MOST_ROWS], _without(config))]


def _without(config: Config) -> tuple[tuple[str, dict[str, Any]], ...]:
    if config.duplicates == choose.NEAR:
        return ()
    return (("Leave repeated rows out", {"duplicates": choose.NEAR}),)


def unwritten(count: int) -> Finding:
    """Paraphrases that were asked for and are still to be written by the model."""
    return Finding("Paraphrases", RED, f"{count:,} paraphrases are wanted and not written yet.",
                   (), (("No paraphrases", {"paraphrase_share": 0.0}),))

"""The rows on which models are judged: held out, known to no run, ready to be scored."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from core.config import Config
from core.data import build
from core.data.messages import layouts
from core.data.tokens.tokenize import IGNORED, encode, encode_prompt
from core.errors import UserError
from core.evaluation.score import Asked, Candidate
from core.files import Folders

MOST_LABELS = 20  # more different answers than these are no labels
SEEN_PER_LABEL = 4  # rows there must be for each, or answers merely happen to repeat
LOOKED_AT = 2000  # rows, to find the labels
MOST_COMPARED = 200_000  # training rows that are looked through for held-out ones


@dataclass(frozen=True)
class Row:
    """One question. `asked` holds the labels in order, or the data's answer alone; `answer_at` is
    the candidate that the data gives. `prompt_ids` is what generation reads; None for a plain
    text."""

    prompt: str
    answer: str
    asked: Asked
    answer_at: int
    prompt_ids: list[int] | None
    messages: list[layouts.Message] = field(repr=False, default_factory=list)
    group: str = ""

    def has_all(self, labels: list[str]) -> bool:
        """Whether its candidates are these labels; one with an answer of its own has one."""
        return not labels or len(self.asked.candidates) == len(labels)


@dataclass(frozen=True)
class Held:
    """Rows to judge on, the labels that they answer with (none: free text), the instruction that
    is put before each text, and remarks in words on what was left out."""

    rows: list[Row]
    labels: list[str]
    instruction: str
    remarks: list[str]


def held_rows(configs: list[Config], count: int, tokenizer: Any, folders: Folders, *,
              dataset: str = "", allow_learned: bool = False, group_column: str = "") -> Held:
    """Held-out rows of the first run's data set, or rows of `dataset`, up to `count`, without those
    that any of the runs learned (a run may have drawn its rows otherwise). UserError where none is
    left."""
    config = _judging(configs[0], count, dataset)
    opened = build.open_dataset(config, folders)
    pool = opened.train if dataset else opened.held_out
    if pool is None or not len(pool):
        raise UserError("The data set has no rows to hold out.",
                        "Choose a run on a larger data set, or name another data set.")
    if group_column and group_column not in pool.column_names:
        raise UserError(f"There is no column '{group_column}'.",
                        f"Found: {', '.join(pool.column_names)}.")
    labels = find_labels(opened)
    learned, remarks = (set(), []) if allow_learned else learned_prompts(configs, folders)
    rows, known, silent = [], 0, 0
    for raw in pool:
        messages = opened.messages(raw)
        if messages and _key(messages) in learned:
            known += 1
            continue
        row = make_row(messages, labels, config, tokenizer) if messages else None
        if row is None:
            silent += 1
            continue
        rows.append(replace(row, group=str(raw[group_column])) if group_column else row)
    remarks += [f"{known} of {len(pool)} rows were left out: a run has learned them."
               ] if known else []
    remarks += [f"{silent} rows hold no answer within the max length and were left out."
                ] if silent else []
    if not rows:
        raise UserError(
            "No row is left to judge on: " + (f"all {known} held-out rows were learned by a run."
                                              if known else "none holds an answer."),
            "Train with fewer rows (Training rows), or allow rows that were learned.")
    return Held(rows, labels, opened.instruction, remarks)


def _judging(config: Config, count: int, dataset: str) -> Config:
    """The run's settings, pointed at the rows to judge on and at nothing that only training does
    with rows."""
    plain = replace(config, counterfactual="off", balance_answers=False)
    if not dataset:
        return replace(plain, eval_rows=count)
    return replace(plain, dataset=dataset, train_rows=count, eval_rows=0, train_split="train",
                   eval_split="", early_stopping_patience=0,
                   **({} if dataset == config.dataset else
                      {"layout": "auto", "prompt_column": "", "input_column": "",
                       "answer_column": "", "system_column": "", "dataset_config": ""}))


def learned_prompts(configs: list[Config], folders: Folders) -> tuple[set[int], list[str]]:
    """Hashes of what the runs were asked while they learned; and remarks on runs whose data set
    isn't there any more."""
    learned: set[int] = set()
    remarks: list[str] = []
    for config in configs:
        try:
            opened = build.open_dataset(config, folders)
        except UserError as error:
            remarks.append(f"What a run learned from '{config.dataset}' couldn't be left out: "
                           f"{error.problem}")
            continue
        first = opened.train.select(range(min(len(opened.train), MOST_COMPARED)))
        learned |= {_key(messages) for messages in map(opened.messages, first) if messages}
    return learned, remarks


def _key(messages: list[layouts.Message]) -> int:
    asked = [m["content"] for m in messages if m["role"] in ("user", "text")]
    return hash("\n".join(" ".join(text.split()) for text in asked))


def find_labels(opened: build.Opened) -> list[str]:
    """The few answers that all rows share, the commonest first; empty where answers are free."""
    if opened.label_names:
        return list(dict.fromkeys(opened.label_names))
    parts = [opened.train, *([opened.held_out] if opened.held_out is not None else [])]
    answers: Counter[str] = Counter()
    for part in parts:
        for raw in part.select(range(min(LOOKED_AT, len(part)))):
            messages = opened.messages(raw)
            if messages and messages[-1]["role"] == "assistant":
                answers[messages[-1]["content"]] += 1
    few = 2 <= len(answers) <= MOST_LABELS
    common = sum(answers.values()) >= SEEN_PER_LABEL * len(answers)
    return sorted(answers, key=lambda a: (-answers[a], a)) if few and common else []


def make_row(messages: list[layouts.Message], labels: list[str], config: Config, tokenizer: Any
             ) -> Row | None:
    """A dialogue as a Row; None where it holds no answer within the max length."""
    if messages[-1]["role"] != "assistant" and messages[0]["role"] != "text":
        return None
    answer = messages[-1]["content"]
    is_text = messages[0]["role"] == "text"
    if labels and not is_text and answer in labels:
        asked = ask(messages[:-1], labels, config, tokenizer)
        answer_at = labels.index(answer)
    else:
        asked, answer_at = _one(messages, config, tokenizer), 0
    if asked is None or not any(asked.candidates[answer_at].counted):
        return None
    if is_text:
        return Row(answer, answer, asked, answer_at, None, messages)
    prompt_ids = encode_prompt(messages[:-1], tokenizer)[:config.max_length]
    return Row(messages[-2]["content"] if len(messages) > 1 else "", answer, asked, answer_at,
               prompt_ids, messages)


def ask(question: list[layouts.Message], answers: list[str], config: Config, tokenizer: Any
        ) -> Asked | None:
    """Several answers to one question, with what they all begin with read once. None where one
    doesn't fit in the max length."""
    found = [encode([*question, {"role": "assistant", "content": answer}], tokenizer,
                    "last answer", config.max_length) for answer in answers]
    if any(not any(label != IGNORED for label in e.labels) or e.lost[0] for e in found):
        return None
    shared = min(next(i for i, label in enumerate(e.labels) if label != IGNORED) for e in found)
    shared = next((i for i in range(shared) if len({e.ids[i] for e in found}) > 1), shared)
    return Asked(found[0].ids[:shared], [_candidate(e, shared) for e in found])


def _one(messages: list[layouts.Message], config: Config, tokenizer: Any) -> Asked | None:
    """The data's own answers, all that a run would learn from this row."""
    example = encode(messages, tokenizer, config.loss_on, config.max_length)
    if not example.learned:
        return None
    first = next(i for i, label in enumerate(example.labels) if label != IGNORED)
    shared = max(first, 1)
    return Asked(example.ids[:shared], [_candidate(example, shared)])


def _candidate(example: build.Example, start: int) -> Candidate:
    return Candidate(example.ids[start:], [label != IGNORED for label in example.labels[start:]])


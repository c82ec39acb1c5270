"""From settings to the rows that are learned: opens, draws, reads and tokenizes them."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from datasets import ClassLabel, Dataset
from jinja2.exceptions import TemplateError

from core.config import Config
from core.data import balance, counterfactual, layouts, samples, sources, split
from core.data.tokenize import Example, encode
from core.errors import UserError
from core.files import Folders


@dataclass(frozen=True)
class Opened:
    """A data set with its splits drawn and its layout recognised; no tokens yet."""

    train: Dataset
    held_out: Dataset | None
    layout: layouts.Layout
    instruction: str
    label_names: list[str] | None

    def messages(self, row: dict[str, Any]) -> list[layouts.Message]:
        try:
            return layouts.to_messages(row, self.layout, self.instruction, self.label_names)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"A row doesn't fit the layout '{self.layout.name}' ({type(error).__name__}: "
                f"{error}): {str(row)[:160]}", "Choose another layout or columns.") from error

    def example(self, row: dict[str, Any], config: Config, tokenizer: Any) -> Example:
        messages = self.messages(row)
        try:
            return encode(messages, tokenizer, config.loss_on, config.max_length)
        except TemplateError as error:
            turns = ", ".join(m["role"] for m in messages)
            raise UserError(f"This model's chat template refuses a dialogue of {turns}: {error}",
                            "Choose another model, or leave such rows out.") from error


@dataclass(frozen=True)
class Report:
    """What tokenizing found, in rows and tokens."""

    rows: int
    used_rows: int
    empty_rows: int
    cut_rows: int
    dropped_rows: int
    tokens: int
    learned_tokens: int
    lost_learned_tokens: int
    fingerprint: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def open_dataset(config: Config, folders: Folders) -> Opened:
    """Opens and draws the rows that `config` names. UserError for everything a person can mend."""
    rows = sources.open_rows(config.dataset, config.train_split, folders, config.dataset_config)
    layout = layouts.recognise(
        rows[0], config.layout, prompt=config.prompt_column, input=config.input_column,
        answer=config.answer_column, system=config.system_column)
    if config.eval_rows and config.eval_split and config.eval_split != config.train_split:
        train = split.draw(rows, config.train_rows, config.data_seed)
        others = sources.open_rows(config.dataset, config.eval_split, folders,
                                   config.dataset_config)
        held_out = split.draw(others, config.eval_rows, config.data_seed)
    elif config.eval_rows and len(rows) > 1:
        train, held_out = split.hold_out(rows, config.train_rows, config.eval_rows,
                                         config.data_seed)
    else:
        train, held_out = split.draw(rows, config.train_rows, config.data_seed), None
    return Opened(_more_rows(train, layout, config, folders), held_out, layout,
                  config.instruction or samples.default_instruction(config.dataset, folders),
                  _label_names(rows, layout))


def _more_rows(train: Dataset, layout: layouts.Layout, config: Config, folders: Folders
               ) -> Dataset:
    """The training rows with those that settings against bias add."""
    if config.counterfactual != "off":
        pairs = [pair for groups in counterfactual.load_groups(config.counterfactual, folders)
                 for pair in groups.pairs]
        train = counterfactual.augment(train, pairs, keep=layout.answer if
                                       layout.name == "labelled" else "")
    if config.balance_answers and layout.answer:
        answers = [str(answer) for answer in train[layout.answer]]
        train = train.select(balance.balanced(answers, config.data_seed))
    return train


def _label_names(rows: Dataset, layout: layouts.Layout) -> list[str] | None:
    feature = rows.features.get(layout.answer) if layout.answer else None
    return [name.replace("_", " ") for name in feature.names] if isinstance(
        feature, ClassLabel) else None


def tokenize_rows(opened: Opened, rows: Dataset, config: Config, tokenizer: Any,
                  on_progress: Callable[[int, int], None] = lambda done, total: None
                  ) -> tuple[list[Example], Report]:
    """Every row that teaches something, and the counts of those that don't or are cut."""
    examples: list[Example] = []
    empty = cut = dropped = lost = 0
    digest = hashlib.sha256()
    for done, row in enumerate(rows):
        example = opened.example(row, config, tokenizer)
        digest.update(repr(example.ids).encode())
        too_long = bool(example.lost[0])
        if too_long and config.too_long == "drop":
            dropped += 1
        elif not example.learned:
            empty += 1
        else:
            examples.append(example)
        cut += too_long and config.too_long == "cut"
        lost += example.lost_learned
        on_progress(done + 1, len(rows))
    return examples, Report(
        rows=len(rows), used_rows=len(examples), empty_rows=empty, cut_rows=cut,
        dropped_rows=dropped, tokens=sum(len(e.ids) for e in examples),
        learned_tokens=sum(e.learned for e in examples), lost_learned_tokens=lost,
        fingerprint=digest.hexdigest()[:16])


def require_rows(examples: list[Example], report: Report, what: str) -> None:
    """UserError when no row is left, with the reason in numbers."""
    if not examples:
        raise UserError(
            f"None of the {report.rows} {what} rows teaches anything: {report.empty_rows} hold no "
            f"answer within the max length, {report.dropped_rows} were left out as too long.",
            "Raise Max length, choose other columns, or another data set.")

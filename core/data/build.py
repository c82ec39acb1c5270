"""From settings to the rows that are learned: opens, draws, reads and tokenizes them."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import orjson
from datasets import ClassLabel, Dataset

from core.config import Config
from core.data import arrange
from core.data.messages import dialogues, layouts
from core.data.reading import samples, sources
from core.data.reading.store import already_kept, kept, key_of
from core.data.tokens.bulk import Counts, Plan, tokenize
from core.data.tokens.token_rows import TokenRows, Writer
from core.data.tokens.tokenize import Example, encode
from core.errors import UserError
from core.files import Folders, write_json

FORMAT = 1  # of tokenized rows in the cache; another number tokenizes all anew


@dataclass(frozen=True)
class Opened:
    """A data set with its splits drawn and its layout recognised; no tokens yet. The cells of
    `nested` columns are JSON text. `notes` tell what was left out on the way."""

    train: Dataset
    held_out: Dataset | None
    layout: layouts.Layout
    instruction: str
    label_names: layouts.Names
    folders: Folders
    nested: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()  # in words, what was left out or added on the way
    sources: dict[str, "Opened"] = field(default_factory=dict)  # of rows that carry dialogues

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its lists and objects as such."""
        return {name: orjson.loads(cell) if name in self.nested and isinstance(cell, str) else cell
                for name, cell in row.items()} if self.nested else row

    def raw(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row as it lies in its data set."""
        source = self.sources.get(row.get(dialogues.ORIGIN, ""))
        return source.row(source.train[row[dialogues.SOURCE]]) if source else self.row(row)

    def before(self, row: dict[str, Any]) -> list[layouts.Message]:
        """The dialogue that a changed copy was made from; empty for an original."""
        if not row.get(dialogues.CHANGE):
            return []
        source = self.sources[row[dialogues.ORIGIN]]
        return source.messages(source.train[row[dialogues.SOURCE]])

    def messages(self, row: dict[str, Any]) -> list[layouts.Message]:
        if dialogues.is_carried(row):
            return dialogues.carried_messages(row)
        try:
            return layouts.to_messages(self.row(row), self.layout, self.instruction,
                                       self.label_names)
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise UserError(
                f"A row doesn't fit the layout '{self.layout.name}' ({type(error).__name__}: "
                f"{error}): {str(row)[:160]}", "Choose another layout or columns.") from error

    def example(self, row: dict[str, Any], config: Config, tokenizer: Any) -> Example:
        return encode(self.messages(row), tokenizer, config.loss_on, config.max_length,
                      config.too_long)

    def key(self) -> str:
        """Changes with anything that changes what a row says."""
        return key_of(*(getattr(self, f.name) for f in fields(self)
                        if f.name not in ("train", "held_out", "folders", "notes", "sources")))


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
    split_rows: int = 0
    lost_tokens: int = 0
    rows_losing_answer: int = 0
    longest_row: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def open_dataset(config: Config, folders: Folders,
                 on_progress: Callable[[str, float | None], None] = lambda words, share: None
                 ) -> Opened:
    """Opens, chooses and draws the rows that `config` names. UserError for everything a person
    can mend."""
    main = _open_source(config, config.dataset, config.train_split, folders)

    def open_other(dataset: str, split: str) -> Opened:
        if dataset == config.dataset:  # another split of it is read by the same columns
            other = _open_source(config, dataset, split, folders)
            return replace(main, train=other.train, nested=other.nested, notes=other.notes)
        return _open_source(_read_by_itself(config), dataset, split, folders)

    return arrange.arrange(main, config, folders, open_other, on_progress)


def _read_by_itself(config: Config) -> Config:
    """For another data set: what a person said of the columns of this one doesn't hold there."""
    return replace(config, layout="auto", prompt_column="", input_column="", answer_column="",
                   system_column="", reasoning_column="", label_words="", instruction="",
                   dataset_config="", dataset_revision="")


def _open_source(config: Config, dataset: str, split: str, folders: Folders) -> Opened:
    """All rows of one split and their layout, nothing chosen yet."""
    rows = sources.open_rows(dataset, split, folders, reading(config))
    nested, note = sources.nested_columns(rows), sources.left_out(rows)
    layout = _layout(rows[0], nested, config)
    return Opened(rows, None, layout,
                  config.instruction or samples.default_instruction(dataset, folders),
                  layouts.label_words(config.label_words) or _label_names(rows, layout),
                  folders, nested, (note,) if note else ())


def reading(config: Config) -> sources.Reading:
    """How these settings want files and hubs to be read."""
    return sources.Reading(config.dataset_config, config.dataset_revision, config.file_encoding,
                           config.broken_rows, config.text_rows)


def _layout(row: dict[str, Any], nested: frozenset[str], config: Config) -> layouts.Layout:
    row = {name: orjson.loads(cell) if name in nested and cell else cell
           for name, cell in row.items()}
    return layouts.recognise(
        row, config.layout, prompt=config.prompt_column, input=config.input_column,
        answer=config.answer_column, system=config.system_column,
        reasoning=config.reasoning_column)


def columns(config: Config, folders: Folders) -> list[str]:
    """The columns of the training split, even where no layout is recognised; empty where it can't
    be read."""
    try:
        return sources.open_rows(config.dataset, config.train_split, folders,
                                 reading(config)).column_names
    except UserError:
        return []


def _label_names(rows: Dataset, layout: layouts.Layout) -> list[str] | None:
    feature = rows.features.get(layout.answer) if layout.answer else None
    return [name.replace("_", " ") for name in feature.names] if isinstance(
        feature, ClassLabel) else None


def tokenize_rows(opened: Opened, rows: Dataset, config: Config, tokenizer: Any,
                  on_progress: Callable[[int, int], None] = lambda done, total: None
                  ) -> tuple[TokenRows, Report]:
    """Every row that teaches something, and the counts of those that don't or are cut. The same
    rows, tokenizer and settings are read from the cache the second time."""
    plan = _plan(config)

    def make(into: Path) -> None:
        with Writer(into) as writer:
            counts = tokenize(rows, opened.messages, tokenizer, plan, writer,
                              on_progress)
        write_json(into / "report.json", _report(counts).to_dict())

    folder = kept(opened.folders, "tokens", _key(opened, rows, config, tokenizer), make)
    on_progress(len(rows), len(rows))
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return TokenRows(folder), Report(**report)


def known_tokens(opened: Opened, rows: Dataset, config: Config, tokenizer: Any
                 ) -> TokenRows | None:
    """All these rows as the cache holds them; None where they weren't tokenized so yet."""
    folder = already_kept(opened.folders, "tokens", _key(opened, rows, config, tokenizer))
    return TokenRows(folder) if folder else None


def _plan(config: Config) -> Plan:
    return Plan(config.loss_on, config.max_length, config.too_long)


def _key(opened: Opened, rows: Dataset, config: Config, tokenizer: Any) -> str:
    return key_of(FORMAT, rows._fingerprint, opened.key(), asdict(_plan(config)),
                  _tokenizer_key(tokenizer))


def _report(counts: Counts) -> Report:
    return Report(
        rows=len(counts.row_lengths), used_rows=counts.used, empty_rows=counts.empty,
        cut_rows=counts.cut, dropped_rows=counts.dropped, tokens=counts.tokens,
        learned_tokens=counts.learned, lost_learned_tokens=counts.lost_learned,
        fingerprint=counts.fingerprint, split_rows=counts.split, lost_tokens=counts.lost,
        rows_losing_answer=counts.losing_answer, longest_row=max(counts.row_lengths, default=0))


def _tokenizer_key(tokenizer: Any) -> str:
    """Changes with anything that changes a text's ids: with the day, too, where the template
    writes it (Llama 3.2's and SmolLM3's do)."""
    template = tokenizer.chat_template
    day = time.strftime("%Y-%m-%d") if "strftime_now" in str(template) else ""
    inside = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else sorted(
        tokenizer.get_vocab().items())
    return key_of(type(tokenizer).__name__, inside, template, tokenizer.special_tokens_map,
                  *([day] if day else []))


def require_rows(examples: list[Example], report: Report, what: str) -> None:
    """UserError when no row is left, with the reason in numbers."""
    if not examples:
        raise UserError(
            f"None of the {report.rows} {what} rows teaches anything: {report.empty_rows} hold no "
            f"answer within the max length, {report.dropped_rows} were left out as too long.",
            "Raise Max length, choose other columns, or another data set.")

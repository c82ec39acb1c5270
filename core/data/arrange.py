"""From the rows of a source to those that are learned and held out: chosen, mixed, changed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from datasets import Dataset

from core.config import Config
from core.data.changing import augment, counterfactual
from core.data.choosing import balance, choose, mix, split
from core.data.messages import dialogues
from core.errors import UserError
from core.files import Folders

# An Opened of build.py whose `train` are all rows of its source; what this file needs of it is
# `train`, `messages(row)`, `layout`, `instruction`.
Source = Any
OpenOther = Callable[[str, str], Source]
Progress = Callable[[str, float | None], None]
HELD_OUT = "evaluation data set"


def arrange(main: Source, config: Config, folders: Folders, open_other: OpenOther,
            on_progress: Progress) -> Source:
    """`main` with its training rows and held-out rows. `open_other` opens another data set by name
    and split. Filters and repeated rows come first, so that the numbers of rows a person asked for
    are those that are learned; changed copies come last, so that none is ever held out."""
    chosen = choose.chosen(main.train, _bare(main), config, on_progress)
    notes = [*main.notes, *chosen.notes]
    if _evaluated_elsewhere(config):
        held_out, read_held_out = _held_out_elsewhere(main, config, open_other)
        kept = choose.without_leaks(chosen.rows, _bare(main), held_out, read_held_out, config,
                                    on_progress)
        notes += kept.notes
        train = split.draw(kept.rows, config.train_rows, config.data_seed,
                           choose.strata(kept.rows, _bare(main), config))
    else:
        strata = choose.strata(chosen.rows, _bare(main), config)
        wanted = _eval_count(config, len(chosen.rows))
        held_out = None
        if wanted and len(chosen.rows) > 1:
            train, held_out = split.hold_out(chosen.rows, config.train_rows, wanted,
                                             config.data_seed, strata)
        else:
            train = split.draw(chosen.rows, config.train_rows, config.data_seed, strata)
    train = _against_bias(train, main.layout, config, folders)
    arranged = replace(main, train=train, held_out=held_out, notes=tuple(notes))
    return _extended(arranged, config, folders, open_other, on_progress)


def _bare(source: Source) -> dialogues.Reader:
    """Reads a row without the instruction that all rows share; it would make short rows alike."""
    return replace(source, instruction="").messages


def _evaluated_elsewhere(config: Config) -> bool:
    own_split = config.eval_split and config.eval_split != config.train_split
    return bool((config.eval_rows or config.eval_share) and (config.eval_dataset or own_split))


def _eval_count(config: Config, rows: int) -> int:
    return max(1, round(rows * config.eval_share)) if config.eval_share else config.eval_rows


def _held_out_elsewhere(main: Source, config: Config, open_other: OpenOther
                        ) -> tuple[Dataset, dialogues.Reader]:
    """Held-out rows of another split or data set, and what reads their text. Another data set may
    have columns of its own, so its rows carry their dialogues."""
    dataset = config.eval_dataset or config.dataset
    other = open_other(dataset, config.eval_split or "train")
    rows = split.draw(other.train, _eval_count(config, len(other.train)), config.data_seed,
                      choose.strata(other.train, _bare(other), config))
    if dataset == config.dataset:
        return rows, _bare(main)
    read = replace(other, instruction=config.instruction or other.instruction).messages
    return dialogues.carry(rows, read, HELD_OUT), dialogues.carried_messages


def _against_bias(train: Dataset, layout: Any, config: Config, folders: Folders) -> Dataset:
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


def _extended(arranged: Source, config: Config, folders: Folders, open_other: OpenOther,
              on_progress: Progress) -> Source:
    """With other data sets mixed in and changed copies added, where that is asked for."""
    mixes = bool(config.mix.strip() or config.general_share)
    if not (mixes or augment.is_on(config)):
        return arranged
    name = config.dataset.rstrip("/").rpartition("/")[2].removeprefix("sample:")
    sources = {name: arranged}

    def open_part(part: str, dataset: str, wanted: int) -> Dataset:
        if part in sources:
            raise UserError(f"Other data sets: '{part}' is the main data set's name already.",
                            f"Write another name before it, such as: more = {dataset} * 1")
        on_progress(f"Opening {part}", None)
        other = open_other(dataset, "train")
        taken = replace(other, train=mix.take(other.train, wanted, config.data_seed))
        sources[part] = taken
        return dialogues.carry(taken.train, taken.messages, part)

    on_progress("Reading dialogues", None)
    train, notes = dialogues.carry(arranged.train, arranged.messages, name), list(arranged.notes)
    if mixes:
        train, added = mix.mixed(train, config, open_part)
        notes += added
    if mixes and arranged.held_out is not None:
        kept = choose.without_leaks(train, dialogues.carried_messages, arranged.held_out,
                                    arranged.messages, config, on_progress)
        train, notes = kept.rows, [*notes, *kept.notes]
    if augment.is_on(config):
        train, added = augment.augmented(train, arranged.instruction, config, folders, on_progress)
        notes += added
    return replace(arranged, train=train, notes=tuple(notes), sources=sources)

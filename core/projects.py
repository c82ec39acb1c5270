"""Sample projects: a shipped data set, settings that suit it, and what a person learns by it."""

from dataclasses import dataclass, field
from typing import Any

from core.files import Folders
from core.presets import DEFAULT, load_preset


@dataclass(frozen=True)
class Project:
    """`settings` are laid over those of the starter preset, which any computer can learn with."""

    name: str
    words: str
    settings: dict[str, Any] = field(default_factory=dict)


PROJECTS = {
    "film": Project(
        "Judge film reviews",
        "English sentences, 320 of them, each with its verdict. It takes a minute or three on two "
        "processor cores; afterwards the model answers with the verdict alone."),
    "shopping": Project(
        "Judge Chinese shopping reviews",
        "Sentences from Chinese shops, 320 of them, each with its verdict. It shows what to look "
        "at with another language: how many tokens a character takes.",
        {"dataset": "sample:shopping-reviews-zh", "max_length": 320}),
    "general": Project(
        "Answer everyday questions",
        "Questions with answers, 180 in English and Chinese: sums, advice, rewriting. It "
        "shows how dialogues are learned, answer by answer.",
        {"dataset": "sample:general", "train_rows": 180, "eval_rows": 25, "learning_rate": 3e-4}),
}


def project_settings(name: str, folders: Folders) -> dict[str, Any]:
    """All settings of a sample project."""
    return load_preset(DEFAULT, folders).to_dict() | PROJECTS[name].settings

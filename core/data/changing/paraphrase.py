"""The same question in other words, as the base model wrote it: what to ask, and what was kept."""

import hashlib
import random
from collections.abc import Iterable
from pathlib import Path

from core.config import Config
from core.data.changing.change import keeps_meaning
from core.data.choosing import language
from core.data.messages.layouts import Message
from core.files import Folders, append_json_line, read_json_lines

LONGEST = 2000  # characters; a longer question isn't rewritten in one go by a small model

ASKS = {
    "zh": "请换一种说法改写下面的文字，意思不变，只写改写后的文字：\n\n",
    "": "Rewrite the following text in other words, in the same language and with exactly the same "
        "meaning. Write only the new text:\n\n",
}


def ask(text: str) -> list[Message]:
    """The dialogue whose answer is a paraphrase."""
    words = ASKS.get(language.guess(text), ASKS[""])
    return [{"role": "user", "content": words + text}]


def wanted(texts: Iterable[str], config: Config) -> list[str]:
    """Those of the texts that `paraphrase_share` picks, each once; which ones doesn't depend on
    the others."""
    picked = dict.fromkeys(text for text in texts if 0 < len(text) <= LONGEST)
    return [text for text in picked
            if random.Random(f"{config.augment_seed} {text}").random() < config.paraphrase_share]


def store(config: Config, folders: Folders) -> Path:
    """The file of all that this model has written with this seed."""
    name = f"{config.base_model}@{config.revision} {config.augment_seed}"
    place = folders.home / "paraphrases"
    place.mkdir(exist_ok=True, mode=0o700)
    return place / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.jsonl"


def kept(config: Config, folders: Folders) -> dict[str, str]:
    """Text -> its paraphrase; '' where the model's answer couldn't be used."""
    return {record["text"]: record["paraphrase"]
            for record in read_json_lines(store(config, folders))}


def keep(text: str, answer: str, protected: Iterable[str], config: Config, folders: Folders
         ) -> bool:
    """Write an answer down, whether it can be used or not, so that it isn't asked again."""
    cleaned = answer.strip().strip("\"“”").strip()
    usable = keeps_meaning(text, cleaned, protected)
    append_json_line(store(config, folders), {
        "text": text, "paraphrase": cleaned if usable else "", "answer": answer})
    return usable

"""Lets a model say training questions in other words; what it wrote is kept for every later run."""

from collections.abc import Iterator
from typing import Any

from core.chat.generate import Sampling, stream
from core.chat.loaded import BASE, Loaded
from core.config import Config
from core.data.changing import paraphrase
from core.data.tokens.plain import with_template
from core.data.tokens.tokenize import encode_prompt
from core.files import Folders

TEMPERATURE, TOP_P = 0.7, 0.9  # other words are wanted, but not another matter
ROOM = 1.5                     # times the tokens of the text that its paraphrase may have


def write(loaded: Loaded, texts: list[tuple[str, list[str]]], config: Config, folders: Folders
          ) -> Iterator[dict[str, Any]]:
    """Asks the base model for each (text, words that must stay); yields {"phase", "share"} before
    each and {"words"} at the end. Stopping loses nothing: each answer is kept as it comes."""
    tokenizer = with_template(loaded.tokenizer, config.chat_template)
    usable = 0
    for done, (text, protected) in enumerate(texts):
        share = f"{usable:,} of {done:,} could be used" if done else ""
        yield {"phase": f"Writing paraphrases{f' ({share})' if share else ''}",
               "share": done / len(texts)}
        length = len(loaded.tokenizer(text, add_special_tokens=False)["input_ids"])
        sampling = Sampling(temperature=TEMPERATURE, top_p=TOP_P, seed=config.augment_seed,
                            max_new_tokens=int(length * ROOM) + 16)
        prompt = encode_prompt(paraphrase.ask(text), tokenizer)
        *_, answers = stream(loaded, prompt, [BASE], sampling)
        answer = loaded.tokenizer.decode(answers[0].ids, skip_special_tokens=True)
        usable += paraphrase.keep(text, answer, protected, config, folders)
    yield {"words": f"{len(texts):,} questions were rewritten; {usable:,} of the answers keep "
                    "labels, numbers and negations and are used."}

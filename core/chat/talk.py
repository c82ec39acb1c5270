"""The object in the chat process: holds one base model with its adapters and answers with them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.chat import paraphrase
from core.chat.generate import Answer, Sampling, Wishes, context_length, stream_each
from core.chat.loaded import BASE, Loaded
from core.chat.score import log_probability
from core.config import Config
from core.confine import child
from core.data.messages.layouts import Message
from core.data.tokens.plain import with_template
from core.data.tokens.tokenize import encode, encode_prompt
from core.errors import UserError
from core.files import Folders
from core.model import hub, load
from core.model.hardware import choose_formats, find_device
from core.training.run import find_run

WAITING_SECONDS = 0.5  # between two words of a caller that waits for its turn


class Talk:
    """Answers one caller at a time; a second one waits for the first. A model is named by a run's
    id, by 'id/checkpoint-40', or by '' for the base model; those of one call must share their base
    model, and `settings` name it where no run is asked."""

    def __init__(self, folders: Folders):
        self._folders = folders
        self._loaded: Loaded | None = None
        self._key: tuple[str, str, str] | None = None  # which model is loaded, and how
        self._lock = threading.Lock()
        self._wishes: dict[str, Wishes] = {}

    def answer(self, settings: dict[str, Any], runs: list[str], messages: list[Message],
               sampling: dict[str, Any], gpu_is_taken: bool = False, ticket: str = ""
               ) -> Iterator[dict[str, Any]]:
        """Answers of each of `runs` to a conversation that ends with the user's turn, side by side.
        Yields {"phase": words} until the first token, then {"texts": [...], "done": bool,
        "first_token_seconds", "tokens_per_second", "context", "together", "answers": [...]} that
        grow. `ticket` is any name under which `tell` finds this call."""
        if not messages or not messages[-1]["content"].strip():
            raise UserError("The message is empty.", "Type something, then send.")
        chosen = Sampling(**sampling)
        with self._wished(ticket) as wishes:
            for loaded, names, config in self._ready(settings, runs, gpu_is_taken):
                if loaded is None:
                    yield names
                    continue
                prompt = _prompt(messages, loaded, config)
                for answers in stream_each(loaded, [prompt] * len(names), names, chosen, wishes):
                    yield _told(answers, loaded) if any(a.ids or a.done for a in answers) else {
                        "phase": "Reading the conversation"}

    def tell(self, ticket: str, column: int, wish: str) -> None:
        """Ask of a call at work: 'stop' ends the answer of a column, 'answer' closes its
        reasoning."""
        if wishes := self._wishes.get(ticket):
            (wishes.stop if wish == "stop" else wishes.answer_now).add(column)

    def answer_many(self, settings: dict[str, Any], runs: list[str], rows: list[dict[str, str]],
                    sampling: dict[str, Any], system: str = "", gpu_is_taken: bool = False
                    ) -> Iterator[dict[str, Any]]:
        """Every model's answer to each row's "prompt", and where the row has an "answer", how
        likely each finds it. Yields {"phase"} and {"at", "of"}, with "row" once it is complete, or
        with "left_out", why this row can't be asked."""
        chosen = Sampling(**sampling)
        for loaded, names, config in self._ready(settings, runs, gpu_is_taken):
            if loaded is None:
                yield names
                continue
            for at, row in enumerate(rows):
                asked = ([{"role": "system", "content": system}] if system.strip() else []) + [
                    {"role": "user", "content": row["prompt"]}]
                try:
                    prompt = _prompt(asked, loaded, config)
                    for answers in stream_each(loaded, [prompt] * len(names), names, chosen,
                                               Wishes()):
                        done = _told(answers, loaded)
                        yield {"at": at, "of": len(rows)}
                    scores = self._scores(loaded, names, asked, row.get("answer", ""), config)
                except UserError as error:  # too long, or no dialogue for this template
                    yield {"at": at + 1, "of": len(rows), "left_out": error.problem}
                    continue
                yield {"at": at + 1, "of": len(rows),
                       "row": {**row, "answers": done["answers"], "scores": scores}}

    def score(self, settings: dict[str, Any], runs: list[str], messages: list[Message],
              answer: str, gpu_is_taken: bool = False) -> Iterator[Any]:
        """Ends with [{"log_probability", "tokens"}] of an answer under each model."""
        for loaded, names, config in self._ready(settings, runs, gpu_is_taken):
            yield names if loaded is None else self._scores(loaded, names, messages, answer, config)

    def _ready(self, settings: dict[str, Any], runs: list[str], gpu_is_taken: bool
               ) -> Iterator[tuple[Loaded | None, Any, Config]]:
        """(None, {"phase": words}, config) while the model is loaded, then (loaded, names, config)
        once, with the lock held for as long as the caller is at it."""
        config = self._common_config(settings, runs)
        if gpu_is_taken and find_device().kind == "cuda":
            raise UserError("A run is using the GPU, and chat would take memory from it.",
                            "Wait until it has ended, or stop it.")
        for report in self._turn():
            yield None, report, config
        try:
            for report in self._load(config):
                yield None, report, config
            yield self._loaded, [self._adapter(self._loaded, run) for run in runs], config
        finally:
            self._lock.release()

    def _turn(self) -> Iterator[dict[str, Any]]:
        """Ends once the lock is held. It says again and again that it waits, since a caller that
        has gone is found out with the next word only."""
        yield {"phase": "Waiting for the model"}
        while not self._lock.acquire(timeout=WAITING_SECONDS):
            yield {"phase": "Waiting for the model"}

    @contextmanager
    def _wished(self, ticket: str) -> Iterator[Wishes]:
        """What a person wishes of a call, to be found by its ticket while it is at work."""
        wishes = Wishes()
        if ticket:
            self._wishes[ticket] = wishes
        try:
            yield wishes
        finally:
            self._wishes.pop(ticket, None)

    def paraphrase(self, settings: dict[str, Any], texts: list[tuple[str, list[str]]]
                   ) -> Iterator[dict[str, Any]]:
        """Lets the base model say each of `texts` in other words, as core/chat/paraphrase.py
        does."""
        config = Config.parse(settings)
        yield from self._turn()
        try:
            yield from self._load(config)
            yield from paraphrase.write(self._loaded, texts, config, self._folders)
        finally:
            self._lock.release()

    def _common_config(self, settings: dict[str, Any], runs: list[str]) -> Config:
        configs = [find_run(self._folders.runs, _split(run)[0]).config() for run in runs if run]
        if not configs:
            return Config.parse(settings)
        bases = {(c.base_model, c.revision) for c in configs}
        if len(bases) > 1:
            raise UserError("These runs have different base models: "
                            f"{', '.join(sorted(base for base, _ in bases))}.",
                            "Compare runs of one base model.")
        return configs[0]

    def _load(self, config: Config) -> Iterator[dict[str, Any]]:
        key = (config.base_model, config.revision, config.base_weights)
        if self._key == key:
            return
        yield {"phase": f"Loading {config.base_model.removeprefix('starter:')}"}
        self._loaded = self._key = None
        device = find_device()
        formats = choose_formats(config, device)
        folder = hub.locate(config.base_model, self._folders, config.revision)
        model = load.load_base(folder, formats, config, device).eval()
        self._loaded, self._key = Loaded(model, load.load_tokenizer(folder)), key

    def _adapter(self, loaded: Loaded, who: str) -> str:
        """A run's or checkpoint's adapter by the name under which it is loaded."""
        if not who:
            return BASE
        run_id, checkpoint = _split(who)
        run = find_run(self._folders.runs, run_id)
        folder = child(run.checkpoints, checkpoint) if checkpoint else run.adapter
        about = folder and folder / "adapter_config.json"
        if about is None or not about.is_file():
            raise UserError(f"The run '{who}' has no adapter yet.",
                            "Wait until it has finished, or choose another run.")
        name = f"{who}@{about.stat().st_mtime_ns}"  # a resumed run writes its adapter anew
        loaded.add(folder, name)
        return name

    def _scores(self, loaded: Loaded, names: list[str], asked: list[Message], answer: str,
                config: Config) -> list[dict[str, float]]:
        if not answer.strip():
            return []
        if config.layout == "text":
            return []  # a text goes on; it has no one answer
        example = encode([*asked, {"role": "assistant", "content": answer}],
                         with_template(loaded.tokenizer, config.chat_template),
                         "last answer", context_length(loaded.model) or 1 << 20)
        return [log_probability(loaded, name, example) for name in names]


def _split(who: str) -> tuple[str, str]:
    """'id/checkpoint-40' to its parts; the last parts of paths only, whatever was asked."""
    run_id, _, checkpoint = who.partition("/")
    return run_id, Path(checkpoint).name


def _prompt(messages: list[Message], loaded: Loaded, config: Config) -> list[int]:
    """What the model reads, by the template with which the run was trained."""
    return encode_prompt(_as_read(messages, config),
                         with_template(loaded.tokenizer, config.chat_template))


def _as_read(messages: list[Message], config: Config) -> list[Message]:
    """A run that learned plain text goes on with the text; others answer by the chat template."""
    if config.layout == "text":
        return [{"role": "text", "content": messages[-1]["content"]}]
    return messages


def _told(answers: list[Answer], loaded: Loaded) -> dict[str, Any]:
    more = sum(max(0, len(a.ids) - 1) for a in answers)
    seconds = max(a.more_seconds for a in answers)
    return {"texts": [a.text for a in answers],
            "done": all(a.done for a in answers),
            "first_token_seconds": max(a.first_seconds for a in answers),
            "tokens_per_second": more / seconds if seconds else 0.0,
            "context": context_length(loaded.model),
            "together": loaded.runs_together([a.adapter for a in answers]),
            "answers": [{"text": a.text, "tokens": len(a.ids), "prompt_tokens": a.prompt_tokens,
                         "done": a.done, "ended_by": a.ended_by, "first_seconds": a.first_seconds,
                         "tokens_per_second": a.tokens_per_second, "thinks": a.thinks,
                         "think_tokens": a.think_tokens, "think_seconds": a.think_seconds}
                        for a in answers]}

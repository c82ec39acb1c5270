"""The object in the chat process: holds one base model with its adapters and answers with them."""

import threading
from collections.abc import Iterator
from typing import Any

from core.chat.generate import Answer, Sampling, stream
from core.chat.loaded import BASE, Loaded
from core.config import Config
from core.data.layouts import Message
from core.data.template import THINK_OPEN
from core.data.tokenize import encode_prompt
from core.errors import UserError
from core.files import Folders
from core.model import hub, load
from core.model.hardware import choose_formats, find_device
from core.training.run import find_run


class Talk:
    """Answers one conversation at a time; a second caller waits for the first."""

    def __init__(self, folders: Folders):
        self._folders = folders
        self._loaded: Loaded | None = None
        self._key: tuple[str, str, str] | None = None  # which model is loaded, and how
        self._lock = threading.Lock()

    def answer(self, settings: dict[str, Any], runs: list[str], messages: list[Message],
               sampling: dict[str, Any], gpu_is_taken: bool = False) -> Iterator[dict[str, Any]]:
        """Answers of each run in `runs` ('' is the base model) to a conversation that ends with the
        user's turn. Yields {"phase": words} while loading, then {"texts": [...], "done": bool,
        "first_token_seconds": float, "tokens_per_second": float, "answers": [{"tokens",
        "prompt_tokens"}]} that grow. All runs must share one base model; `settings` name it where
        no run is asked."""
        if not messages or not messages[-1]["content"].strip():
            raise UserError("The message is empty.", "Type something, then send.")
        config = self._common_config(settings, runs)
        chosen = Sampling(**sampling)
        if gpu_is_taken and find_device().kind == "cuda":
            raise UserError("A run is using the GPU, and chat would take memory from it.",
                            "Wait until it has ended, or stop it.")
        yield {"phase": "Waiting for the model"}
        with self._lock:
            yield from self._load(config)
            loaded = self._loaded
            names = [self._adapter(loaded, run_id) for run_id in runs]
            prompt = encode_prompt(_as_read(messages, config), loaded.tokenizer)
            opened = loaded.tokenizer.decode(prompt[-8:]).rstrip().endswith(THINK_OPEN)
            for answers in stream(loaded, prompt, names, chosen):
                yield _told(answers, loaded.tokenizer, f"{THINK_OPEN}\n" if opened else "") | {
                    "answers": [{"tokens": len(a.ids), "prompt_tokens": len(prompt)}
                                for a in answers]}

    def _common_config(self, settings: dict[str, Any], runs: list[str]) -> Config:
        configs = [find_run(self._folders.runs, run_id).config() for run_id in runs if run_id]
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

    def _adapter(self, loaded: Loaded, run_id: str) -> str:
        """A run's adapter by the name under which it is loaded."""
        if not run_id:
            return BASE
        folder = find_run(self._folders.runs, run_id).adapter
        about = folder / "adapter_config.json"
        if not about.is_file():
            raise UserError(f"The run '{run_id}' has no adapter yet.",
                            "Wait until it has finished, or choose another run.")
        name = f"{run_id}@{about.stat().st_mtime_ns}"  # a resumed run writes its adapter anew
        loaded.add(folder, name)
        return name


def _as_read(messages: list[Message], config: Config) -> list[Message]:
    """A run that learned plain text goes on with the text; others answer by the chat template."""
    if config.layout == "text":
        return [{"role": "text", "content": messages[-1]["content"]}]
    return messages


def _told(answers: list[Answer], tokenizer: Any, opening: str) -> dict[str, Any]:
    """`opening` is what the prompt began on the answer's behalf, such as '<think>'."""
    more = sum(max(0, len(a.ids) - 1) for a in answers)
    seconds = sum(a.more_seconds for a in answers)
    return {"texts": [opening + tokenizer.decode(a.ids, skip_special_tokens=True)
                      for a in answers],
            "done": all(a.done for a in answers),
            "first_token_seconds": max(a.first_seconds for a in answers),
            "tokens_per_second": more / seconds if seconds else 0.0}

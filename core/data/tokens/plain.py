"""Chat templates that a person can choose or write, tried out before anything relies on them."""

import copy
import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import UserError

# For a base model that has no chat template of its own.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ '### Instruction:\n' + message['content'] + '\n\n' }}"
    "{% else %}{{ '### Response:\n' + message['content'] + eos_token + '\n\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)
NAMED = {
    "plain": PLAIN_TEMPLATE,
    "chatml": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
        "message['content'] }}{% if message['role'] == 'assistant' %}{{ '<|im_end|>' + eos_token "
        "+ '\n' if eos_token != '<|im_end|>' else '<|im_end|>\n' }}{% else %}{{ '<|im_end|>\n' }}"
        "{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"),
    "alpaca": (
        "{% if messages[0]['role'] != 'system' %}{{ 'Below is an instruction that describes a "
        "task. Write a response that appropriately completes the request.\n\n' }}{% endif %}"
        + PLAIN_TEMPLATE),
}
LONGEST_TEMPLATE, LONGEST_TEXT = 100_000, 1_000_000  # characters
PROBE_SECONDS = 10
ROOT = Path(__file__).parents[3]


def with_template(tokenizer: Any, chosen: str) -> Any:
    """The tokenizer with the template that the setting names or holds; unchanged where it is empty
    and the model has its own. UserError for one that can't be used."""
    template = NAMED.get(chosen, chosen) or tokenizer.chat_template or PLAIN_TEMPLATE
    if template == tokenizer.chat_template:
        return tokenizer
    if template not in NAMED.values():
        _try_out(template)
    changed = copy.copy(tokenizer)
    changed.chat_template = template
    return changed


@lru_cache(16)
def _try_out(template: str) -> None:
    """Renders a short dialogue in a process of its own, which may be ended and holds nothing."""
    if len(template) > LONGEST_TEMPLATE:
        raise _refused(f"it has {len(template):,} characters, more than {LONGEST_TEMPLATE:,}")
    try:
        done = subprocess.run([sys.executable, "-m", "core.data.tokens.template_probe"], cwd=ROOT,
                              input=json.dumps({"template": template, "longest": LONGEST_TEXT}),
                              capture_output=True, text=True, encoding="utf-8",
                              timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise _refused(f"a dialogue of two turns takes more than {PROBE_SECONDS} s") from error
    if done.returncode != 0:
        raise _refused("it needs too much memory")
    problem = json.loads(done.stdout)["problem"]
    if problem:
        raise _refused(problem)


def _refused(why: str) -> UserError:
    return UserError(f"The chat template can't be used: {why}.",
                     f"Mend it, or choose one of {', '.join(NAMED)}.")

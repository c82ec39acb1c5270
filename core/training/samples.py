"""A few held-out prompts answered at each evaluation, so that one sees what the numbers mean."""

from typing import Any

import torch
from transformers.trainer_callback import TrainerCallback

from core.data.tokens.tokenize import encode_prompt
from core.files import append_json_line
from core.training.run import Run

NEW_TOKENS = 48
ROWS_AT_ONCE = 8


class SampleAnswers(TrainerCallback):
    """Writes answers to the run's samples.jsonl and adds the share that is right, word for word,
    to the evaluation's own numbers. It must stand before early stopping, which reads them."""

    def __init__(self, run: Run, tokenizer: Any, questions: list[dict[str, Any]]):
        self._run, self._tokenizer, self._questions = run, tokenizer, questions

    def on_evaluate(self, args, state, control, metrics, model, **_):
        was_training, cache = model.training, model.config.use_cache
        model.eval()
        model.config.use_cache = True
        try:
            texts = write(model, self._tokenizer, [q["ids"] for q in self._questions])
        finally:
            model.config.use_cache = cache
            model.train(was_training)
        of_base = "base_token_loss" in metrics
        right, step = 0, 0 if of_base else state.global_step
        for question, text in zip(self._questions, texts, strict=True):
            right += text.strip() == question["answer"].strip()
            if self._run.writes:
                append_json_line(self._run.folder / "samples.jsonl", {
                    "step": step, "prompt": question["prompt"],
                    "answer": question["answer"], "text": text})
        metrics["base_exact_answers" if of_base else "eval_exact_answers"] = right / len(texts)
        self._run.append_metrics({"step": step, "exact_answers": right / len(texts)})


def questions(opened: Any, tokenizer: Any, count: int) -> list[dict[str, Any]]:
    """The first held-out rows that ask something, as {"prompt", "answer", "ids"}."""
    found: list[dict[str, Any]] = []
    for row in opened.held_out if count and opened.held_out is not None else ():
        messages = opened.messages(row)
        if len(messages) > 1 and messages[-1]["role"] == "assistant":
            found.append({"prompt": messages[-2]["content"], "answer": messages[-1]["content"],
                          "ids": encode_prompt(messages[:-1], tokenizer)})
        if len(found) == count:
            break
    return found


@torch.no_grad()
def write(model: Any, tokenizer: Any, prompts: list[list[int]]) -> list[str]:
    """The likeliest answer to each prompt, several prompts at a time."""
    texts: list[str] = []
    for start in range(0, len(prompts), ROWS_AT_ONCE):
        part = prompts[start:start + ROWS_AT_ONCE]
        longest = max(map(len, part))
        ids = torch.tensor([[tokenizer.pad_token_id] * (longest - len(p)) + p for p in part])
        attention = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in part])
        written = model.generate(
            input_ids=ids.to(model.device), attention_mask=attention.to(model.device),
            do_sample=False, temperature=None, top_p=None, top_k=None, max_new_tokens=NEW_TOKENS,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id)
        texts += tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)
    return texts

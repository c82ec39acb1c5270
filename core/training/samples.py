"""A few held-out prompts answered at each evaluation, so that one sees what the numbers mean."""

from statistics import fmean
from typing import Any

import torch
from transformers.trainer_callback import TrainerCallback

from core import likeness
from core.data.tokens.tokenize import encode_prompt
from core.files import append_json_line
from core.model.attention import ordinary
from core.model.ends import end_tokens, until_end
from core.settings.progress import OF_ANSWERS
from core.training.run import Run

NEW_TOKENS = 48
ROWS_AT_ONCE = 8


class SampleAnswers(TrainerCallback):
    """Writes answers to the run's samples.jsonl and adds how like they are to the right ones to the
    evaluation's own numbers. It must stand before early stopping, which reads them."""

    def __init__(self, run: Run, tokenizer: Any, questions: list[dict[str, Any]]):
        self._run, self._tokenizer, self._questions = run, tokenizer, questions

    def on_evaluate(self, args, state, control, metrics, model, **_):
        was_training, cache = model.training, model.config.use_cache
        model.eval()
        model.config.use_cache = True
        try:
            with ordinary(model.get_base_model()):
                texts = write(model, self._tokenizer, [q["ids"] for q in self._questions])
        finally:
            model.config.use_cache = cache
            model.train(was_training)
        of_base = "base_token_loss" in metrics
        step = 0 if of_base else state.global_step
        for question, text in zip(self._questions, texts, strict=True):
            if self._run.writes:
                append_json_line(self._run.folder / "samples.jsonl", {
                    "step": step, "prompt": question["prompt"],
                    "answer": question["answer"], "text": text})
        scores = alike([q["answer"] for q in self._questions], texts)
        begin = "base" if of_base else "eval"
        metrics.update({f"{begin}_{name}": score for name, score in scores.items()})
        self._run.append_metrics({"step": step, **scores})


def alike(answers: list[str], texts: list[str]) -> dict[str, float]:
    """How like texts are to the right answers, 0 to 1 each, as means: the same word for word, words
    that both have, the longest run of them, and pieces of words."""
    pairs = list(zip(answers, texts, strict=True))
    measures = {"exact_answers": lambda answer, text: answer.strip() == text.strip(),
                "token_f1": likeness.token_f1,
                "rouge_l": lambda answer, text: likeness.rouge(answer, text)["rougeL"],
                "chrf": lambda answer, text: likeness.chrf(answer, text) / 100}
    return {name: fmean(measures[name](*pair) for pair in pairs) for name in OF_ANSWERS.values()}


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
    ends = sorted(end_tokens(model, tokenizer))
    for start in range(0, len(prompts), ROWS_AT_ONCE):
        part = prompts[start:start + ROWS_AT_ONCE]
        longest = max(map(len, part))
        ids = torch.tensor([[tokenizer.pad_token_id] * (longest - len(p)) + p for p in part])
        attention = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in part])
        written = model.generate(
            input_ids=ids.to(model.device), attention_mask=attention.to(model.device),
            do_sample=False, temperature=None, top_p=None, top_k=None, max_new_tokens=NEW_TOKENS,
            pad_token_id=tokenizer.pad_token_id, eos_token_id=ends)
        texts += [tokenizer.decode(until_end(line[longest:].tolist(), ends),
                                   skip_special_tokens=True) for line in written]
    return texts

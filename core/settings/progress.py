"""When a run measures, saves and logs."""

from dataclasses import dataclass

from core.settings.setting import setting

# What the sample answers are measured by, and what the best checkpoint may be chosen by: in words,
# and the name in a run's records.
OF_ANSWERS = {"exact answers": "exact_answers", "token F1": "token_f1", "ROUGE-L": "rouge_l",
              "chrF": "chrf"}
BEST_BY = {"loss": "eval_loss", "token accuracy": "token_accuracy", **OF_ANSWERS}


@dataclass(frozen=True)
class ProgressSettings:
    """Settings of the group 'progress'."""

    eval_every: str = setting(
        "epoch", "progress", "Evaluate each", "When the held-out rows are measured.",
        choices=("epoch", "steps", "never"))
    eval_steps: int = setting(50, "progress", "Evaluate every … steps", "With 'steps'.", low=1)
    save_every: str = setting(
        "epoch", "progress", "Save each", "When a checkpoint is written.",
        choices=("epoch", "steps", "never"))
    save_steps: int = setting(50, "progress", "Save every … steps", "With 'steps'.", low=1)
    save_total_limit: int = setting(
        2, "progress", "Checkpoints kept",
        "So many of the newest, and the best besides; older ones are deleted.", low=1)
    logging_steps: int = setting(
        1, "progress", "Log every … steps", "How often a point is drawn.", low=1)
    sample_answers: int = setting(
        0, "progress", "Sample answers", "How many held-out prompts the model answers at each "
        "evaluation, shown while it trains. 0: none.", low=0, high=200)
    early_stopping_patience: int = setting(
        0, "progress", "Early stopping", "Ends after so many evaluations without a better result, "
        "keeps the best, and saves at each evaluation. 0: off.", low=0)
    stop_on: str = setting(
        "loss", "progress", "Best by", "What early stopping watches on the held-out rows: the "
        "loss, the share of tokens foretold, or how like the sample answers are to the right ones.",
        choices=tuple(BEST_BY))
    resume_tries: int = setting(
        0, "progress", "Resume by itself",
        "How often a run that was interrupted (a restart, a killed trainer) goes on by itself "
        "without getting further in between. 0: it waits for you.", low=0, high=100)
    trackers: tuple[str, ...] = setting(
        (), "progress", "Trackers",
        "Also report to these, where installed: trackio, wandb, mlflow, "
        "swanlab. Keys come from their own environment variables. TensorBoard files are always "
        "written.")
    webhook_url: str = setting(
        "", "progress", "Webhook",
        "This address is sent the run's name, state and losses as JSON when it ends. Empty: none. "
        "It is kept in the run's settings.")

"""How the adapter is trained."""

from dataclasses import dataclass

from core.settings.setting import setting


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the group 'training'."""

    epochs: float = setting(
        1.0, "training", "Epochs", "Passes over the training rows; fractions are allowed.",
        low=0.0, high=1000.0, above_low=True, simple=True)
    max_steps: int = setting(
        0, "training", "Max steps", "Ends after so many steps. 0: epochs decide.", low=0)
    batch_size: int = setting(
        8, "training", "Batch size", "Rows in one pass through the model.",
        low=1, high=4096, simple=True)
    gradient_accumulation: int = setting(
        1, "training", "Gradient accumulation", "Passes that are added up before one step.",
        low=1, high=4096)
    learning_rate: float = setting(
        2e-4, "training", "Learning rate", "How far a step goes; 1e-4 to 1e-3 suit LoRA.",
        low=0.0, high=1.0, above_low=True, simple=True)
    lr_scheduler: str = setting(
        "linear", "training", "Schedule",
        "How the learning rate falls after the warm-up; constant has no warm-up.",
        choices=("linear", "cosine", "constant", "constant_with_warmup"))
    warmup_ratio: float = setting(
        0.03, "training", "Warm-up", "Share of the steps in which the learning rate rises.",
        low=0.0, high=0.9)
    weight_decay: float = setting(
        0.0, "training", "Weight decay", "Pulls weights to zero; against overfitting.",
        low=0.0, high=1.0)
    max_grad_norm: float = setting(
        1.0, "training", "Gradient clipping", "Longest gradient allowed. 0: no clipping.",
        low=0.0, high=1000.0)
    optimizer: str = setting(
        "adamw_torch", "training", "Optimizer", "The 8-bit and paged ones save GPU memory.",
        choices=("adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit",
                 "paged_adamw_32bit", "adafactor", "lion_32bit", "sgd"))
    gradient_checkpointing: bool = setting(
        False, "training", "Gradient checkpointing",
        "Computes activations twice to save memory; about a third slower.")
    neftune_noise_alpha: float = setting(
        0.0, "training", "NEFTune noise", "Noise on embeddings against overfitting; 5 is usual.",
        low=0.0, high=100.0)
    adversarial_strength: float = setting(
        0.0, "training", "Adversarial strength",
        "Learns each batch a second time with embeddings moved against it by this share of their "
        "length (FGM): steadier answers, twice the time. 0: off; 0.05 to 0.2 are usual.",
        low=0.0, high=2.0)
    seed: int = setting(42, "training", "Seed", "Decides order, dropout, initial adapter.",
                       low=0, high=2**32 - 1)

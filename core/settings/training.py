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
        8, "training", "Batch size", "Rows that are learned together.",
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
    memory: str = setting(
        "auto", "training", "Speed or memory",
        "Fastest keeps all activations; balanced computes half of them twice, least all of them in "
        "small passes and what must be kept waits in main memory, about a quarter slower. "
        "Streamed: the weights wait there too, for models larger than the card. Auto: the fastest "
        "that fits. With fsdp2 and zero3 all but fastest are alike, and batches stay whole.",
        choices=("auto", "fastest", "balanced", "least", "streamed"), simple=True)
    pass_tokens: int = setting(
        0, "training", "Tokens a pass",
        "A batch with more tokens goes through the model in several passes, which teach the same. "
        "0: as 'Speed or memory' says.", low=0, high=1_048_576)
    compile_layers: str = setting(
        "auto", "training", "Compile",
        "Compiled layers are a third faster on a GPU and take a minute or two to make. Auto: "
        "where the run is long enough to earn it.", choices=("auto", "always", "never"))
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

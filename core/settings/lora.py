"""The adapter that learns."""

from dataclasses import dataclass

from core.settings.setting import setting


@dataclass(frozen=True)
class LoraSettings:
    """Settings of the group 'lora'."""

    lora_r: int = setting(
        8, "lora", "Rank r", "Size of the adapter: more can learn more and forget more.",
        low=1, high=1024, simple=True)
    lora_alpha: int = setting(
        16, "lora", "Alpha", "Scale of the adapter; often twice the rank.",
        low=1, high=4096, simple=True)
    lora_dropout: float = setting(
        0.05, "lora", "Dropout", "Share of adapter inputs dropped while training.",
        low=0.0, high=0.95)
    target_modules: tuple[str, ...] = setting(
        ("all linear",), "lora", "Target modules", "Which layers get an adapter.", simple=True)
    lora_bias: str = setting(
        "none", "lora", "Bias", "Which bias vectors are learned too.",
        choices=("none", "all", "lora_only"))
    use_rslora: bool = setting(
        False, "lora", "rsLoRA", "Scale by alpha / sqrt(r): steadier at high rank.")
    use_dora: bool = setting(
        False, "lora", "DoRA", "Learns magnitude and direction apart: better, slower.")
    init_lora: str = setting(
        "default", "lora", "Initialisation", "How the adapter begins. PiSSA and OLoRA start from "
        "the weights' own directions and need 16- or 32-bit base weights.",
        choices=("default", "pissa", "olora"))
    modules_to_save: tuple[str, ...] = setting(
        (), "lora", "Modules trained in full", "For example lm_head; large, rarely needed.")

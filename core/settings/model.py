"""The frozen base model, and in which numbers it is held."""

from dataclasses import dataclass

from core.settings.setting import setting


@dataclass(frozen=True)
class ModelSettings:
    """Settings of the group 'model'."""

    base_model: str = setting(
        "starter:SmolLM2-135M-Instruct", "model", "Base model",
        "From the catalogue, a Hugging Face id, modelscope:<id>, a folder or a GGUF file.")
    revision: str = setting("", "model", "Revision", "Branch, tag or commit on the hub.")
    adapter: str = setting(
        "", "model", "Continue from adapter", "A run's name or an adapter folder to go on from.")
    base_weights: str = setting(
        "auto", "model", "Base weights",
        "How the frozen weights are held. 4bit needs about a quarter of 16bit; fp8 is the fastest "
        "on GPUs that have it. Auto: 16bit, or 32bit where this machine has no fast 16-bit "
        "arithmetic.", choices=("auto", "4bit", "8bit", "fp8", "16bit", "32bit"), simple=True)
    quant_type: str = setting(
        "nf4", "model", "4-bit type", "nf4 suits normally distributed weights.",
        choices=("nf4", "fp4"))
    double_quantization: bool = setting(
        True, "model", "Double quantization", "Also stores the 4-bit scales in 8 bit.")
    precision: str = setting(
        "auto", "model", "Precision",
        "Number format of the arithmetic. Auto: bf16 where the hardware has it.",
        choices=("auto", "bf16", "fp16", "fp32"))

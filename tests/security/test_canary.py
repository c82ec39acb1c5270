"""Tokens and keys of the environment turn up nowhere that TuneDesk writes or shows."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from core.training import line
from core.training.run import FINAL, create, list_runs
from tests.e2e.conftest import App, wait_until
from tests.security.conftest import PASSWORD, ask, locked_home, started_alone

CANARY = "canary-4c1f9e"
KEYS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN", "WANDB_API_KEY",
        "OPENAI_API_KEY", "SWANLAB_API_KEY", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("canary") / "server.log"


@pytest.fixture(scope="module")
def app(log: Path):
    home = log.parent / "TuneDesk"
    login = log.parent / "hub"
    login.mkdir()
    (login / "token").write_text(CANARY)
    served = App(home, environment=dict.fromkeys(KEYS, CANARY) | {"HF_HOME": str(login)})
    served.start()
    yield served
    served.end()


def command_lines() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode("utf-8", "replace"))
        except OSError:
            continue  # ended meanwhile
    return "\n".join(found)


@pytest.mark.slow
def test_a_token_shows_in_no_run_file_answer_or_command_line(app: App, quick, tiny_model):
    told = ask(app, "start_training", quick.to_dict() | {"max_steps": 2})
    assert '"success":true' in told.replace(" ", ""), told[-800:]
    lines, deadline = "", time.monotonic() + 200
    while not (runs := list_runs(app.home / "runs")) or runs[0].status().state not in FINAL:
        lines += command_lines()
        assert time.monotonic() < deadline
        time.sleep(0.3)
    run = runs[0]
    assert run.status().state == "finished", run.status().words
    told += "".join(ask(app, *each) for each in (
        ("run_status", run.id), ("run_metrics", run.id), ("list_runs",), ("export_run", run.id,
        "adapter"), ("list_exports",), ("describe", {"base_model": "no/such-model-anywhere"})))
    assert list((app.home / "exports").rglob("adapter_model.safetensors"))
    assert CANARY not in told + lines
    written = [path for path in app.home.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert not [path for path in written if CANARY.encode() in path.read_bytes()]


@pytest.mark.slow
def test_merged_and_gguf_exports_trackers_files_and_error_reports_hold_no_token(app: App, quick):
    """What a person hands on to others: exports, curves for other programs, a failed run."""
    run, told = list_runs(app.home / "runs")[0], ""
    for form in ("merged", "gguf-q8_0"):
        told += ask(app, "export_run", run.id, form)
    exports = app.home / "exports" / run.id
    assert list(exports.rglob("model*.safetensors")) and list(exports.rglob("*.gguf")), told[-800:]
    # Past the page's checks, so that it fails at work; and its webhook can't be reached.
    failed = create(replace(quick, dataset=str(app.home / "gone.jsonl"), trackers=("wandb",),
                            webhook_url=f"http://127.0.0.1:9/{CANARY}-hook"), app.home / "runs")
    line.join(app.home / "runs", failed.id)
    wait_until(lambda: failed.status().state == "failed")
    told += "".join(ask(app, *each) for each in (("run_status", failed.id), ("list_runs",)))
    wait_until(lambda: "webhook" in failed.log.read_text())
    assert list(app.home.rglob("events.out.tfevents*")), "no tracker wrote"
    # The person typed the webhook's address into the settings, which keep it.
    for path in app.home.rglob("*"):
        if path.is_file() and path != failed.folder / "config.yaml":
            assert CANARY.encode() not in path.read_bytes(), path
    assert CANARY not in told


@pytest.mark.slow
def test_what_the_server_prints_and_shows_holds_no_token_either(app: App):
    import httpx

    page = httpx.get(app.url, timeout=60).text + httpx.get(f"{app.url}/config", timeout=60).text
    app.end()
    assert CANARY not in page + app.process.stdout.read()


def test_the_password_is_in_no_file_and_no_error(tmp_path):
    home = locked_home(tmp_path / "home")
    done = started_alone("--data-folder", str(home), "password", given="short\n")
    assert done.returncode == 1 and "short" not in done.stderr.replace("shorter", "")
    assert not [p for p in home.rglob("*") if p.is_file() and PASSWORD.encode() in p.read_bytes()]

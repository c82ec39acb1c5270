"""A run is a folder, and reading it never fails: half-written, older, or left by the dead."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict

import psutil
import pytest

from core.config import Config
from core.errors import UserError
from core.training.alive import boot_id, is_alive, start_time
from core.training.run import (
    ACTIVE,
    Run,
    Status,
    adapter_folder,
    create,
    find_run,
    list_runs,
)


@pytest.fixture
def run(folders) -> Run:
    return create(Config(), folders.runs)


@pytest.fixture
def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_new_run_waits_with_its_settings(folders):
    config = Config(dataset="data/我的 rows.jsonl", base_model="own/model", lora_r=3)
    run = create(config, folders.runs)
    assert run.config() == config
    assert run.status().state == "queued"
    assert "model" in run.id and "rows" in run.id


def test_runs_of_the_same_second_get_names_of_their_own(folders):
    runs = [create(Config(), folders.runs) for _ in range(5)]
    assert len({run.id for run in runs}) == 5
    assert {run.id for run in list_runs(folders.runs)} == {run.id for run in runs}


@pytest.mark.parametrize("dataset, base_model", [
    ("/", "/"), ("x" * 500, "y" * 500), ("../..", "~"), ("a?b*c<d>|e:", "é/电影"), (".", ".")])
def test_a_runs_name_is_a_plain_folder_name(dataset, base_model, folders):
    run = create(Config(dataset=dataset, base_model=base_model), folders.runs)
    assert run.folder.parent == folders.runs and run.folder.is_dir()
    assert len(run.id) < 100 and not {*run.id} & {*'/\\:*?"<>| '}


def test_runs_are_listed_with_the_newest_first(folders, monkeypatch):
    for stamp in ("20250101-000000", "20260101-000000", "20240101-000000"):
        monkeypatch.setattr("time.strftime", lambda *_, stamp=stamp: stamp)
        create(Config(), folders.runs)
    assert [run.id[:4] for run in list_runs(folders.runs)] == ["2026", "2025", "2024"]


def test_a_full_disk_is_told_when_a_run_is_made(folders, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("core.training.run.write_whole", full)
    with pytest.raises(UserError, match="No space left"):
        create(Config(), folders.runs)


@pytest.mark.parametrize("content", [b"", b'{"state": "runn', b"42", b"null", b"\xff\xfe"],
                         ids=repr)
def test_a_status_that_cannot_be_read_is_a_failed_run_with_words(content, run):
    (run.folder / "status.json").write_bytes(content)
    status = run.status()
    assert status.state == "failed" and status.words and status.remedy


def test_a_status_of_another_version_is_read_as_far_as_it_is_known(run):
    (run.folder / "status.json").write_text('{"state": "finished", "mood": "good"}')
    assert (run.status().state, run.status().step) == ("finished", 0)


def test_a_torn_line_of_the_measurements_is_left_out(run):
    run.append_metrics({"step": 1, "loss": 2.0})
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert run.metrics() == [{"step": 1, "loss": 2.0}]


@pytest.mark.parametrize("content", [None, "", "{", "null"])
def test_facts_that_are_not_there_are_none(content, run):
    if content is not None:
        (run.folder / "data.json").write_text(content)
    assert not run.facts("data")


@pytest.mark.parametrize("state", ACTIVE)
def test_a_run_whose_worker_is_gone_is_interrupted(state, run, dead_pid):
    run.write_status(Status(state=state, pid=dead_pid, pid_started=time.time(), step=7))
    status = run.status()
    assert status.state == "interrupted" and "7" in status.words and "Resume" in status.remedy


def test_a_run_whose_worker_lives_is_as_its_file_says(run):
    me = psutil.Process()
    run.write_status(Status(state="running", pid=me.pid, pid_started=start_time(me.pid)))
    assert run.status().state == "running"


def test_a_clock_that_is_set_back_does_not_make_a_worker_another(run, monkeypatch):
    run.write_status(Status(state="running", pid=os.getpid(), boot=boot_id(),
                            pid_started=start_time(os.getpid())))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(psutil, "boot_time", lambda: 0.0)
    assert run.status().state == "running"


def test_a_run_that_a_restart_of_the_machine_ended_says_so(run, dead_pid):
    run.write_status(Status(state="running", pid=dead_pid, boot="another", step=5))
    status = run.status()
    assert status.state == "interrupted" and "restarted" in status.words


def test_a_run_that_ran_out_of_memory_says_so(run, dead_pid, monkeypatch):
    monkeypatch.setattr("core.training.alive.memory_kills", lambda: 3)
    run.write_status(Status(state="running", pid=dead_pid, boot=boot_id(), memory_kills=2))
    status = run.status()
    assert status.state == "interrupted" and "memory" in status.words
    assert "Batch size" in status.remedy


def test_a_pid_that_was_given_to_another_process_is_not_the_worker(run):
    run.write_status(Status(state="running", pid=os.getpid(),
                            pid_started=start_time(os.getpid()) - 3600))
    assert run.status().state == "interrupted"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no zombies")
def test_a_zombie_is_not_alive(wait_for):
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    started = start_time(child.pid)
    wait_for(lambda: process.status() == psutil.STATUS_ZOMBIE, "the child ended")
    assert not is_alive(child.pid, started)
    child.wait()


@pytest.mark.parametrize("pid", [0, 2**22 + 1])
def test_a_pid_that_nobody_has_is_not_alive(pid):
    assert not is_alive(pid, time.time())


def test_a_wish_to_stop_can_be_told_and_withdrawn(run):
    assert run.stop_asked() == ""
    run.ask_to_stop(at_once=False)
    assert run.stop_asked() == "save"
    run.ask_to_stop(at_once=True)
    assert run.stop_asked() == "now"
    run.withdraw_stop()
    run.withdraw_stop()
    assert run.stop_asked() == ""


def test_the_last_whole_checkpoint_is_the_one_with_the_highest_step(run):
    assert run.last_checkpoint() is None
    for step in (2, 10, 9):
        (run.checkpoints / f"checkpoint-{step}").mkdir(parents=True)
        (run.checkpoints / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    (run.checkpoints / "checkpoint-12.old").mkdir()
    assert run.last_checkpoint().name == "checkpoint-10"


@pytest.mark.parametrize("run_id", ["", "nothing", "../presets", "/etc", "."])
def test_a_run_that_is_not_there_is_told(run_id, folders):
    with pytest.raises(UserError, match="no run"):
        find_run(folders.runs, run_id)


def test_no_runs_folder_is_no_runs(tmp_path):
    assert list_runs(tmp_path / "none") == []


def test_a_folder_of_something_else_is_no_run(folders):
    (folders.runs / "notes").mkdir()
    assert list_runs(folders.runs) == []


def make_adapter(run: Run) -> None:
    run.adapter.mkdir()
    (run.adapter / "adapter_config.json").write_text("{}")


def test_an_adapter_is_found_by_its_runs_name_or_its_folder(run, folders):
    make_adapter(run)
    for name in (run.id, str(run.adapter)):
        assert adapter_folder(Config(adapter=name), folders.runs) == str(run.adapter)
    assert adapter_folder(Config(), folders.runs) is None


def test_an_adapter_of_another_base_model_is_refused(run, folders):
    make_adapter(run)
    with pytest.raises(UserError, match="trained on"):
        adapter_folder(Config(adapter=run.id, base_model="another/model"), folders.runs)


def test_an_adapter_that_is_not_there_is_told(run, folders, tmp_path):
    for name in (run.id, str(tmp_path), "nothing"):
        with pytest.raises(UserError):
            adapter_folder(Config(adapter=name), folders.runs)


def test_a_run_that_was_moved_is_read_where_it_lies(run, tmp_path):
    run.append_metrics({"step": 1})
    moved = Run(shutil.move(run.folder, tmp_path / "moved") and tmp_path / "moved")
    assert moved.config() == Config() and moved.metrics() == [{"step": 1}]


def test_the_status_file_is_plain_json(run):
    raw = json.loads((run.folder / "status.json").read_text())
    assert raw == json.loads(json.dumps(asdict(run.status())))

"""A data folder that is full, or can't be written: said in words, and nothing is lost."""

import hashlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gradio_client import Client

from core.config import Config
from core.training.archive import Archive
from core.training.metrics import Reader
from core.training.queue import Queue
from core.training.run import Run, Status, create
from tests import play
from tests.e2e.conftest import App
from tests.security.conftest import started_alone
from ui import run_view

SIZE_MEGABYTES = 64


def mount(*arguments: str) -> bool:
    return os.geteuid() == 0 and subprocess.run(
        ["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A small disk of its own."""
    if not mount("-t", "tmpfs", "-o", f"size={SIZE_MEGABYTES}m", "tmpfs", str(tmp_path)):
        pytest.skip("may not mount a small disk")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=False)


@pytest.fixture
def app(disk) -> Iterator[App]:
    served = App(disk / "TuneDesk")
    served.start()
    yield served
    served.end(signal.SIGTERM)


@pytest.fixture
def old_run(app: App, quick) -> Run:
    made = create(quick, app.home / "runs")
    made.write_status(Status(state="finished", step=5, total_steps=5, started=1.0, ended=61.0))
    made.append_metrics({"step": 1, "loss": 1.0})
    return made


def fill(disk: Path) -> Path:
    """Takes the last byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return filler


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir()) if path.is_file()}


def refusal(ask: Callable[[], object]) -> str:
    with pytest.raises(Exception) as told:
        ask()
    return str(told.value)


def start(client: Client, settings: dict) -> str:
    return client.predict(settings | {"max_steps": 1}, api_name="/start_training")


def expect_that_it_can_be_looked_at(client: Client, run: Run, before: dict[str, str]) -> None:
    assert client.predict(run.id, api_name="/run_status")["state"] == "finished"
    assert [each["id"] for each in client.predict(api_name="/list_runs")] == [run.id]
    assert hashes(run.folder) == before


def test_a_full_disk_is_said_and_where_there_is_room_again_it_goes_on(
        app: App, disk, old_run, quick, wait_for):
    client, before = Client(app.url, verbose=False), hashes(old_run.folder)
    client.predict(quick.to_dict(), api_name="/describe")
    filler = fill(disk)
    words = refusal(lambda: start(client, quick.to_dict()))
    assert "No space left" in words or "disk" in words and "full" in words, words
    assert "Traceback" not in words and app.process.poll() is None
    expect_that_it_can_be_looked_at(client, old_run, before)
    filler.unlink()
    run_id = start(client, quick.to_dict())
    wait_for(lambda: client.predict(run_id, api_name="/run_status")["state"] == "finished",
             "the run finishes")


@pytest.mark.slow
def test_a_disk_that_becomes_read_only_is_said_and_all_can_still_be_looked_at(
        app: App, disk, old_run, quick):
    client, before = Client(app.url, verbose=False), hashes(old_run.folder)
    client.predict(quick.to_dict(), api_name="/describe")
    runs = str(app.home / "runs")
    # A second mount in its place: one with files that are being written can't be locked.
    assert mount("--bind", runs, runs) and mount("-o", "remount,bind,ro", runs)
    try:
        words = refusal(lambda: start(client, quick.to_dict()))
        assert "Read-only" in words and "Traceback" not in words, words
        expect_that_it_can_be_looked_at(client, old_run, before)
    finally:
        subprocess.run(["umount", runs], check=True)
    assert start(client, quick.to_dict())


def test_a_server_on_a_read_only_folder_does_not_start_and_says_why(disk):
    home = disk / "TuneDesk"
    done = started_alone("--data-folder", str(home), "password", given="four words of mine\n")
    assert done.returncode == 0
    assert mount("-o", "remount,ro", str(disk))
    done = started_alone("--data-folder", str(home), "--no-browser")
    assert done.returncode == 1 and "Read-only" in done.stderr
    assert "--data-folder" in done.stderr and "Traceback" not in done.stderr
    assert mount("-o", "remount,rw", str(disk))


def test_a_folder_that_another_person_owns_is_said(tmp_path):
    (tmp_path / "home").write_text("a file, where a folder should be")
    done = started_alone("--data-folder", str(tmp_path / "home"), "--no-browser")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "--data-folder" in done.stderr


def test_a_disk_that_hangs_keeps_no_look_waiting_and_loses_nothing(
        folders, monkeypatch, tmp_path, wait_for):
    old = create(Config(), folders.runs)
    old.write_status(Status(state="finished", step=5, total_steps=5, started=1.0, ended=61.0))
    answers, fsync, submitted = threading.Event(), os.fsync, []

    def hang(handle: int) -> None:
        answers.wait(60)
        fsync(handle)

    monkeypatch.setattr("core.training.launch.sys.executable", str(play.put_in(tmp_path)))
    queue = Queue(folders, keep_spare=False)
    queue.start()
    try:
        monkeypatch.setattr(os, "fsync", hang)
        start = threading.Thread(target=lambda: submitted.append(
            queue.submit(Config(instruction="finish"))))
        start.start()
        shown = run_view.reader(folders.runs, Reader())([old.id, "", "a page"])
        listed = Archive(folders.runs, Reader()).look()["runs"]
        assert json.loads(shown["view"])["state"] == "finished"
        assert old.id in [each["id"] for each in listed] and queue.active() is not None
        assert start.is_alive() and not answers.is_set()
        answers.set()
        start.join()
        wait_for(lambda: submitted[0].status().state == "finished", "the run is done")
    finally:
        answers.set()
        queue.close()

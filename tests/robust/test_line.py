"""Many quick clicks, servers killed again and again, two servers, clocks that are set: no run is
done twice, none is lost, and no process is left over."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from core.config import Config
from core.errors import UserError
from core.training import line, run
from core.training.queue import Queue
from core.training.run import ACTIVE, FINAL, Run, list_runs
from tests import play

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills processes as Unix does")
ROOT = Path(__file__).parents[2]
SECONDS = 300.0

# A server without a page: what it has of the queue, in a process that can be killed.
SERVER = """
import sys, time
from pathlib import Path
from core.files import default_folders
from core.training.queue import Queue
from tests import play
play.stand_in(Path(sys.argv[2]))
queue = Queue(default_folders(sys.argv[1]))
queue.start("http://127.0.0.1:" + sys.argv[3])
print(queue.elsewhere() or "mine", flush=True)
while True:
    time.sleep(1)
"""


@pytest.fixture
def script(tmp_path) -> Path:
    return play.put_in(tmp_path)


@pytest.fixture
def serve(folders, script) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts servers on the data folder; what is left of them is killed when the test is over."""
    started: list[subprocess.Popen] = []

    def start(port: int = 1) -> subprocess.Popen:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(folders.home), str(script), str(port)], cwd=ROOT,
            stdout=subprocess.PIPE, text=True)
        started.append(server)
        return server

    yield start
    for server in started:
        server.kill()
        server.wait()


def workers(script: Path) -> list[psutil.Process]:
    """The processes that run this test's worker, whoever started them."""
    found = []
    for each in psutil.process_iter(["cmdline", "status"]):
        words, state = each.info["cmdline"] or [], each.info["status"]
        if str(script) in words and state != psutil.STATUS_ZOMBIE:
            found.append(each)
    return found


def new_run(folders, part: str) -> Run:
    made = run.create(Config(instruction=part), folders.runs)
    line.join(folders.runs, made.id)
    return made


def never_two_at_work(runs: Path, until: threading.Event, seen: list[int]) -> None:
    while not until.is_set():
        seen.append(sum(each.status().state in ACTIVE for each in list_runs(runs)))
        time.sleep(0.02)


def test_a_storm_of_restarts_does_each_run_once(folders, script, serve, wait_for):
    draw = random.Random(3)
    runs = [new_run(folders, "a second") for _ in range(4)]
    for _ in range(8):
        server = serve()
        assert server.stdout.readline().strip() == "mine"
        time.sleep(draw.uniform(0.0, 0.6))
        server.kill()
        server.wait()
    last = serve()
    wait_for(lambda: all(each.status().state in FINAL for each in runs), "all have ended", SECONDS)
    for each in runs:
        worked, state = play.times_worked(each), each.status().state
        # A server that dies between its word to the folder and that to the worker leaves a run
        # that says so, and that nobody worked at.
        assert (worked, state) in ((1, "finished"), (0, "interrupted")), (worked, state)
    last.kill()
    wait_for(lambda: not workers(script), "no worker is left over", SECONDS)


def click_about(queue: Queue, clicks: int, seed: int, started: list[Run], lock: threading.Lock,
                failures: list[Exception]) -> None:
    """Start, Stop and Stop now, as quickly as it goes."""
    draw = random.Random(seed)
    for _ in range(clicks):
        try:
            what = draw.choice(("start", "stop", "stop now"))
            with lock:
                known = list(started)
            if what == "start" or not known:
                made = queue.submit(Config(instruction="wait"))
                with lock:
                    started.append(made)
            else:
                with contextlib.suppress(UserError):  # it has ended, as it says
                    queue.stop(draw.choice(known).id, at_once=what == "stop now")
        except Exception as error:
            failures.append(error)


@pytest.mark.parametrize("clicks", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_many_quick_clicks_on_start_and_stop_double_no_run(
        clicks, folders, script, monkeypatch, wait_for):
    monkeypatch.setattr("core.training.launch.sys.executable", str(script), raising=True)
    queue, started, failures, seen = Queue(folders), [], [], []
    lock, done = threading.Lock(), threading.Event()
    watcher = threading.Thread(target=never_two_at_work, args=(folders.runs, done, seen))
    queue.start()
    watcher.start()
    try:
        hands = [threading.Thread(target=click_about, args=(
            queue, clicks // 4, seed, started, lock, failures)) for seed in range(4)]
        for hand in hands:
            hand.start()
        for hand in hands:
            hand.join()
        for each in queue.active():
            with contextlib.suppress(UserError):
                queue.stop(each.id, at_once=True)
        wait_for(lambda: all(each.written_status().state in FINAL for each in started),
                 lambda: f"all have ended: {[e.status() for e in queue.active()]}", SECONDS)
    finally:
        done.set()
        watcher.join()
        queue.close()
    assert not failures
    assert len({each.id for each in started}) == len(started) == len(list_runs(folders.runs))
    assert max(seen) <= 1, "two runs were at work at the same moment"
    assert all(play.times_worked(each) <= 1 for each in started)
    assert {each.status().state for each in started} == {"stopped"}
    wait_for(lambda: not workers(script), "no worker is left over", SECONDS)


def test_a_second_server_says_who_starts_the_runs_and_takes_over(
        folders, script, serve, wait_for):
    first, second = serve(7001), None
    assert first.stdout.readline().strip() == "mine"
    second = serve(7002)
    said = second.stdout.readline()
    assert "http://127.0.0.1:7001" in said and "takes over" in said
    work = new_run(folders, "wait")
    wait_for(lambda: work.status().state == "running", "the first starts it", SECONDS)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert work.status().state == "running"
    work.ask_to_stop(at_once=True)
    wait_for(lambda: work.status().state == "stopped", "the second ends it", SECONDS)
    done = new_run(folders, "finish")
    wait_for(lambda: done.status().state == "finished", "the second starts the next", SECONDS)
    assert play.times_worked(work) == play.times_worked(done) == 1


@pytest.mark.parametrize("hours", [-30, 30], ids=["back", "forward"])
def test_a_clock_that_is_set_while_runs_wait_changes_nothing_but_times(
        hours, folders, script, monkeypatch, wait_for):
    monkeypatch.setattr("core.training.launch.sys.executable", str(script), raising=True)
    queue = Queue(folders, keep_spare=False)
    queue.start()
    try:
        works = [queue.submit(Config(instruction="a second")) for _ in range(2)]
        wait_for(lambda: works[0].status().state == "running", "the first works", SECONDS)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)
        works.append(queue.submit(Config(instruction="finish")))
        wait_for(lambda: works[2].status().state in FINAL, "the last has ended", SECONDS)
    finally:
        queue.close()
    assert [each.status().state for each in works] == ["finished"] * 3
    assert [play.times_worked(each) for each in works] == [1, 1, 1]

"""The line of runs: order, stopping, and workers, servers and disks that fail in the middle."""

import itertools
import os
import signal
import subprocess
import time
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from core.config import Config
from core.errors import UserError
from core.training import launch, line, run
from core.training.devices import only
from core.training.queue import TICK_SECONDS, Queue
from core.training.run import ACTIVE, FINAL, Run, Status, is_alive
from tests import play

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills processes as Unix does")
SECONDS = 300.0  # a deadline ends what hangs

@pytest.fixture
def actor(tmp_path, monkeypatch) -> None:
    """Put the play's worker in the trainer's place."""
    monkeypatch.setattr(launch, "sys", SimpleNamespace(executable=str(play.put_in(tmp_path))))


@pytest.fixture
def make_queue(folders):
    """Queues that are closed, and whose workers are ended, when the test is over."""
    made: list[Queue] = []

    def make(**options) -> Queue:
        queue = Queue(folders, **{"keep_spare": False} | options)
        queue.start()
        made.append(queue)
        return queue

    yield make
    for queue in made:
        queue.close()
    for each in run.list_runs(folders.runs):
        status = each.status()
        if status.state in ACTIVE and status.pid:
            os.killpg(status.pid, signal.SIGKILL)


@pytest.fixture
def settles(wait_for):
    def settle(each: Run, *states: str, seconds: float = SECONDS) -> Status:
        """Its status once it is in one of `states` (none named: at an end)."""
        return wait_for(lambda: (found := each.status()).state in (states or FINAL) and found,
                        lambda: f"{states or FINAL}, not {each.status()}", seconds)
    return settle


def part(name: str) -> Config:
    return Config(instruction=name)


def test_a_run_is_started_and_finished(actor, make_queue, settles):
    status = settles(make_queue().submit(part("finish")))
    assert status.state == "finished" and status.started and status.ended


def test_runs_are_done_one_after_the_other_in_their_order(actor, make_queue, settles):
    queue = make_queue()
    runs = [queue.submit(part("finish")) for _ in range(3)]
    ended = [settles(each) for each in runs]
    assert [status.state for status in ended] == ["finished"] * 3
    for before, after in zip(ended, ended[1:], strict=False):
        assert before.ended <= after.started


def test_two_runs_submitted_within_a_second_have_names_of_their_own(actor, make_queue):
    queue = make_queue()
    assert queue.submit(part("finish")).id != queue.submit(part("finish")).id


def test_the_line_tells_who_works_and_who_waits(actor, make_queue, settles):
    queue = make_queue()
    first, second = queue.submit(part("wait")), queue.submit(part("wait"))
    settles(first, "running")
    assert [each.id for each in queue.active()] == [first.id, second.id]
    assert second.status().state == "queued"


def test_a_run_that_is_stopped_while_it_waits_leaves_the_line(actor, make_queue, settles):
    queue = make_queue()
    first, second, third = [queue.submit(part(name)) for name in ("wait", "finish", "finish")]
    settles(first, "running")
    queue.stop(second.id)
    assert settles(second).state == "stopped"
    queue.stop(first.id)
    assert settles(third).state == "finished"
    assert second.status().started == 0.0


def test_a_stop_in_the_middle_of_a_look_at_a_waiting_run_ends_no_process(
        actor, make_queue, settles, monkeypatch):
    """A run that waits has no process yet; the number 0 would mean the server's own group."""
    ended, looks = [], itertools.cycle(("", "now"))
    monkeypatch.setattr(os, "killpg", lambda *which: ended.append(which))
    queue = make_queue()
    first, second = queue.submit(part("wait")), queue.submit(part("finish"))
    settles(first, "running")
    asked = Run.stop_asked
    monkeypatch.setattr(Run, "stop_asked", lambda self: next(looks) if self.id == second.id
                        else asked(self))
    assert settles(second).state == "stopped"
    monkeypatch.undo()
    queue.stop(first.id)
    settles(first)
    assert ended == []


@pytest.mark.parametrize("pid", [0, -1])
def test_nothing_is_ended_that_is_no_process(pid):
    with pytest.raises(ValueError):
        launch.kill(pid, force=False)


def test_stop_asks_the_worker_and_the_next_run_starts(actor, make_queue, settles):
    queue = make_queue()
    first, second = queue.submit(part("wait")), queue.submit(part("finish"))
    settles(first, "running")
    queue.stop(first.id)
    assert settles(first).words == "Stopped and saved at step 3."
    assert settles(second).state == "finished"


@pytest.mark.parametrize("name", ["wait", "deaf"])
def test_stop_now_ends_the_worker_even_if_it_does_not_listen(name, actor, make_queue, settles):
    queue = make_queue()
    work = queue.submit(part(name))
    pid = settles(work, "running").pid
    began = time.monotonic()
    queue.stop(work.id, at_once=True)
    status = settles(work, "stopped")
    assert time.monotonic() - began < 60
    assert "at once" in status.words
    assert not psutil.pid_exists(pid)


def test_a_run_that_has_ended_cannot_be_stopped(actor, make_queue, settles):
    queue = make_queue()
    work = queue.submit(part("finish"))
    settles(work)
    with pytest.raises(UserError, match="finished"):
        queue.stop(work.id)


def test_a_worker_that_dies_leaves_an_interrupted_run_and_the_next_starts(
        actor, make_queue, settles):
    queue = make_queue()
    first, second = queue.submit(part("die")), queue.submit(part("finish"))
    status = settles(first)
    assert status.state == "interrupted" and "step 3" in status.words and status.remedy
    assert settles(second).state == "finished"


def test_a_worker_that_could_not_even_write_that_the_disk_is_full_is_told(
        actor, make_queue, settles):
    status = settles(make_queue().submit(part("no space")), "failed")
    assert status.words == "The disk is full." and "Free" in status.remedy


def test_why_a_worker_ended_is_not_forgotten_while_the_disk_is_full(
        actor, make_queue, settles, monkeypatch, wait_for):
    write, failures = Run.write_status, []

    def full_for_a_while(self, status):
        if status.state in FINAL and len(failures) < 3:
            failures.append(status.state)
            raise OSError(28, "No space left on device")
        return write(self, status)

    monkeypatch.setattr(Run, "write_status", full_for_a_while)
    work = make_queue().submit(part("no space"))
    wait_for(lambda: len(failures) == 3, "the end of the run could not be written")
    assert settles(work, "failed", seconds=10).words == "The disk is full."


def test_only_a_run_that_ended_early_can_be_resumed(actor, make_queue, settles):
    queue = make_queue()
    work = queue.submit(part("finish"))
    settles(work)
    with pytest.raises(UserError, match="finished"):
        queue.resume(work.id)


def test_a_stopped_run_can_be_resumed_to_its_end(actor, make_queue, settles):
    queue = make_queue()
    work = queue.submit(part("wait"))
    settles(work, "running")
    queue.stop(work.id)
    settles(work)
    (work.folder / "config.yaml").write_text(part("finish").to_yaml())
    queue.resume(work.id)
    assert settles(work, "finished").remedy == ""


def test_runs_that_wait_are_started_by_the_next_server(actor, make_queue, settles, folders):
    work = run.create(part("finish"), folders.runs)
    make_queue()
    assert settles(work).state == "finished"


def test_a_run_that_was_interrupted_goes_on_by_itself_if_asked_but_not_for_ever(
        actor, make_queue, wait_for):
    work = make_queue().submit(replace(part("die"), resume_tries=2))
    wait_for(lambda: work.written_status().state == "interrupted", "it is given up", SECONDS)
    assert work.status().tries == 2
    assert work.log.read_text().count("goes on by itself") == 2


def test_a_run_that_was_interrupted_while_no_server_was_there_goes_on_at_the_next(
        actor, make_queue, settles, folders):
    work = run.create(replace(part("finish"), resume_tries=1), folders.runs)
    work.update(state="running", pid=2**22 + 1, boot="before the restart", step=4)
    make_queue()
    settles(work, "finished")


def test_an_interruption_is_told_once_and_by_no_later_server(
        actor, make_queue, folders, monkeypatch, wait_for):
    told = []
    monkeypatch.setattr("core.training.notify.tell_end", lambda run: told.append(run.id))
    work = run.create(part("finish"), folders.runs)
    work.update(state="running", pid=2**22 + 1, boot="before the restart", step=4)
    for _ in range(2):
        queue = make_queue()
        wait_for(lambda: told, "it was told", SECONDS)
        written = work.written_at()
        time.sleep(5 * TICK_SECONDS)
        queue.close()
    assert told == [work.id] and work.written_at() == written


def test_waiting_runs_are_done_in_the_order_that_a_person_gave_them(actor, make_queue, settles):
    queue = make_queue()
    busy = queue.submit(part("wait"))
    settles(busy, "running")
    first, second, third = [queue.submit(part("finish")) for _ in range(3)]
    line.move(queue._folders.runs, third.id, -2)
    queue.stop(busy.id)
    ended = [settles(each).started for each in (third, first, second)]
    assert ended == sorted(ended)


def test_a_run_that_is_held_lets_others_pass_until_it_is_released(actor, make_queue, settles):
    queue = make_queue()
    busy = queue.submit(part("wait"))
    settles(busy, "running")
    held, other = queue.submit(part("finish")), queue.submit(part("finish"))
    line.hold(queue._folders.runs, held.id, True)
    queue.stop(busy.id)
    settles(other, "finished")
    assert held.status().state == "queued"
    line.hold(queue._folders.runs, held.id, False)
    settles(held, "finished")


def test_a_waiting_run_can_be_given_other_settings_and_a_working_one_can_not(
        actor, make_queue, settles):
    queue = make_queue()
    busy = queue.submit(part("wait"))
    settles(busy, "running")
    waiting = queue.submit(part("die"))
    line.edit(queue._folders.runs, waiting.id, part("finish"))
    with pytest.raises(UserError, match="doesn't wait"):
        line.edit(queue._folders.runs, busy.id, part("finish"))
    queue.stop(busy.id)
    settles(waiting, "finished")


def test_each_gpu_works_on_a_run_of_its_own(actor, make_queue, settles, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-b")
    queue = make_queue()
    first, second, third = [queue.submit(part(name)) for name in ("wait", "wait", "finish")]
    assert {settles(each, "running").devices for each in (first, second)} == {("0",), ("GPU-b",)}
    assert third.status().state == "queued"
    queue.stop(second.id)
    assert settles(third).devices == settles(second).devices
    assert first.status().state == "running"


def test_gpus_are_numbered_as_they_were_named(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert only(()) == {}
    assert only(("1", "2")) == {"CUDA_VISIBLE_DEVICES": "1,2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-b")
    assert only(("3",)) == {"CUDA_VISIBLE_DEVICES": "3"}


def test_a_crash_is_told_with_the_end_of_the_log(actor, make_queue, settles):
    status = settles(make_queue().submit(part("crash")), "failed")
    assert "SIGSEGV" in status.words and "the last words" in status.detail


def test_what_made_room_for_a_run_is_told(actor, make_queue, settles):
    work = make_queue(before_start=lambda: "The chat was ended.").submit(part("finish"))
    settles(work)
    assert "The chat was ended." in work.log.read_text()


def test_stop_now_leaves_no_process_of_the_trainer(actor, make_queue, settles, wait_for):
    queue = make_queue()
    work = queue.submit(part("children"))
    pid = settles(work, "running").pid
    children = wait_for(lambda: (found := psutil.Process(pid).children()) and len(found) == 2
                        and found, "its children were started", SECONDS)
    queue.stop(work.id, at_once=True)
    settles(work, "stopped")
    wait_for(lambda: not any(psutil.pid_exists(child.pid) and child.status() != "zombie"
                             for child in children), "its children are gone", SECONDS)


def test_a_run_outlives_the_server_and_the_next_sees_it_end(actor, make_queue, settles):
    first = make_queue()
    work = first.submit(part("wait"))
    pid = settles(work, "running").pid
    first.close()
    assert psutil.pid_exists(pid)
    second = make_queue()
    assert work.status().state == "running"
    second.stop(work.id)
    assert settles(work).state == "stopped"


def test_of_two_servers_one_starts_runs_and_the_other_takes_over(actor, make_queue, settles):
    first = make_queue()
    settles(first.submit(part("finish")))  # so that it surely holds the line
    second = make_queue()
    works = [second.submit(part("wait")), second.submit(part("wait"))]
    settles(works[0], "running")
    assert [each.status().state for each in works] == ["running", "queued"]
    assert not second._workers
    first.close()
    second.stop(works[0].id)
    settles(works[0])
    settles(works[1], "running")
    assert second._workers


def test_something_can_be_done_before_each_run(actor, make_queue, settles):
    calls = []
    settles(make_queue(before_start=lambda: calls.append("freed")).submit(part("finish")))
    assert calls == ["freed"]


def test_a_spare_worker_stands_ready_and_ends_with_the_server(actor, make_queue, wait_for):
    queue = make_queue(keep_spare=True)
    spare = wait_for(lambda: queue._launcher._spare, "a spare stands ready")
    queue.close()
    assert spare.wait(20) == 0


def test_a_spare_that_died_is_replaced(actor, make_queue, settles, wait_for):
    queue = make_queue(keep_spare=True)
    spare = wait_for(lambda: queue._launcher._spare, "a spare stands ready")
    spare.kill()
    assert settles(queue.submit(part("finish"))).state == "finished"


def test_a_disk_that_is_full_for_a_while_does_not_end_the_queue(
        actor, make_queue, settles, monkeypatch, wait_for):
    queue = make_queue()
    failures = []

    def full(*_):
        failures.append(1)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(queue._launcher, "launch", full)
        work = queue.submit(part("finish"))
        wait_for(lambda: failures, "the queue tried")
    assert settles(work).state == "finished"


# Real workers on the tiny model.

def test_a_real_worker_stops_and_saves_when_it_is_asked(make_queue, settles, wait_for, endless):
    queue = make_queue()
    work = queue.submit(endless)
    settles(work, "running")
    wait_for(lambda: len(work.metrics()) > 2, "it trains", SECONDS)
    queue.stop(work.id)
    status = settles(work)
    assert status.state == "stopped" and f"step {status.step}" in status.words
    assert (work.adapter / "adapter_model.safetensors").is_file()
    assert work.last_checkpoint().name == f"checkpoint-{status.step}"


@pytest.mark.slow
def test_a_real_worker_that_was_killed_is_resumed_and_finishes(
        make_queue, settles, wait_for, endless):
    queue = make_queue()
    work = queue.submit(endless)
    wait_for(lambda: work.last_checkpoint(), "a checkpoint is written", SECONDS)
    os.kill(work.status().pid, signal.SIGKILL)
    status = settles(work)
    assert status.state == "interrupted" and "killed" in status.words and status.remedy
    shown = max(record["step"] for record in work.metrics())
    (work.folder / "config.yaml").write_text(replace(endless, max_steps=shown + 3).to_yaml())
    queue.resume(work.id)
    status = settles(work)
    assert (status.state, status.step) == ("finished", shown + 3)
    assert (work.adapter / "adapter_model.safetensors").is_file()


def test_a_real_worker_outlives_its_server_and_stops_at_once(
        make_queue, settles, wait_for, endless):
    first = make_queue()
    work = first.submit(endless)
    wait_for(lambda: work.last_checkpoint(), "a checkpoint is written", SECONDS)
    first.close()
    seen = len(work.metrics())
    second = make_queue()
    wait_for(lambda: len(work.metrics()) > seen, "it goes on without its server", SECONDS)
    second.stop(work.id, at_once=True)
    status = settles(work, "stopped")
    assert "at once" in status.words and not is_alive(status.pid, status.pid_started)
    assert work.last_checkpoint() is not None


@pytest.fixture
def small_disk(folders):
    """A disk of 1 MB under the runs folder."""
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folders.runs)],
                          capture_output=True, check=False) if os.geteuid() == 0 else None
    if made is None or made.returncode:
        pytest.skip("may not mount a small disk")
    yield folders.runs
    subprocess.run(["umount", "-l", str(folders.runs)], check=False)


@pytest.mark.slow
def test_a_full_disk_ends_a_real_run_as_failed_with_words(
        small_disk, make_queue, settles, endless):
    status = settles(make_queue().submit(replace(endless, lora_r=64)), "failed")
    assert status.words == "The disk is full." and "Free" in status.remedy

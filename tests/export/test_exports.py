"""The server's side of exporting: one job at a time, cancelled cleanly, in a process of its own."""

import pytest

from core.errors import UserError
from core.export import records
from core.export.exports import Exports
from core.process import Process
from tests.export.made import finished_run


@pytest.fixture
def run(folders, tiny_model, colours):
    return finished_run(folders, tiny_model, colours)


@pytest.fixture
def exports(folders):
    made = Exports(folders, Process("core.export.work:Exporter", folders, "export process"))
    yield made
    made.close()


@pytest.mark.slow
def test_an_export_works_in_a_process_that_ends_with_it(exports, folders, run, wait_for):
    exports.export(run.id, "adapter", gpu_is_taken=False)
    with pytest.raises(UserError, match="at work"):
        exports.export(run.id, "merged", gpu_is_taken=False)
    wait_for(lambda: not exports.job().is_working, lambda: str(exports.job()), 240)
    assert exports.job().state == "done" and exports.job().done["proof"]["passed"]
    assert records.find(folders.exports, run.id, "adapter") == exports.job().done
    assert not exports._process.is_alive


def test_an_unknown_form_is_refused_at_once(exports, run):
    with pytest.raises(UserError, match="gguf-q9"):
        exports.export(run.id, "gguf-q9", gpu_is_taken=False)
    assert not exports.job().is_working


def test_what_goes_wrong_is_told_and_nothing_is_left(exports, folders, wait_for):
    exports.export("no-such-run", "merged", gpu_is_taken=False)
    wait_for(lambda: not exports.job().is_working, "it ended", 240)
    assert exports.job().state == "failed" and "no-such-run" in exports.job().problem
    assert not [p for p in folders.exports.rglob("*") if p.name != ".lock"]


class Slow:
    """Stands for the process: works until it is told to cancel, or is killed."""

    def __init__(self, part, listens):
        self.part, self.listens, self.over = part, listens, False
        self.part.mkdir(parents=True)

    def stream(self, method, **arguments):
        while not self.over:
            yield {"phase": "Merging", "share": 0.5}
        raise UserError("The export was cancelled.")

    def call(self, method):
        self.over = self.listens and method == "cancel"

    def stop(self):
        self.over = True


@pytest.mark.parametrize("listens", [True, False])
def test_a_cancelled_job_leaves_nothing_even_where_it_must_be_killed(
        listens, folders, monkeypatch):
    monkeypatch.setattr("core.export.exports.CANCEL_SECONDS", 2.0)
    part = records.aside(folders.exports, "a-run", "merged")
    exports = Exports(folders, Slow(part, listens))
    exports.export("a-run", "merged", gpu_is_taken=False)
    assert exports.cancel().state == "cancelled"
    assert not part.parent.exists()
    assert exports.cancel().state == "cancelled"  # there is nothing more to cancel

"""All runs at a glance, their measurements read once, the trash, and runs from elsewhere."""

import json
import os
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest

from core.config import Config
from core.errors import UserError
from core.files import append_json_line, write_json
from core.training import archive, incoming, trash
from core.training.alive import start_time
from core.training.archive import Archive
from core.training.finding import Query, find
from core.training.metrics import Measured, Reader
from core.training.run import Run, Status, create, list_runs
from ui import run_view, runs_view


@pytest.fixture
def run(folders) -> Run:
    made = create(Config(lora_r=3), folders.runs)
    for step in range(1, 6):
        made.append_metrics({"step": step, "loss": 1.0 / step})
    made.write_status(Status(state="finished", step=5, total_steps=5, started=1.0, ended=61.0))
    return made


def look(folders) -> list[dict]:
    return Archive(folders.runs, Reader()).look()["runs"]


def test_a_summary_tells_settings_state_and_curve(run, folders):
    shown = look(folders)[0]
    assert (shown["id"], shown["state"], shown["lora_r"], shown["seconds"]) == (
        run.id, "finished", 3, 60.0)
    assert shown["spark"][0] == 1.0 and shown["loss"] == pytest.approx(0.2)
    assert shown["size_bytes"] > 0


def test_a_run_that_has_not_changed_is_not_read_again(run, folders, monkeypatch):
    kept = Archive(folders.runs, Reader())
    first = kept.look()
    monkeypatch.setattr(archive, "summarize", lambda *_: pytest.fail("read it again"))
    assert kept.look() == first
    assert Archive(folders.runs, Reader()).look()["runs"] == first["runs"]  # another server


def test_a_change_of_a_run_is_seen(run, folders):
    kept = Archive(folders.runs, Reader())
    kept.look()
    archive.describe(run, tags=["good ", "", "good"], note=" try again ")
    shown = kept.look()["runs"][0]
    assert (shown["tags"], shown["note"]) == (["good"], "try again")


@pytest.mark.parametrize("content", ["", "{", '{"version": 1}', '{"version": 0, "runs": {}}'])
def test_a_spoilt_file_of_summaries_is_made_anew(content, run, folders):
    (folders.runs / archive.KEPT).write_text(content)
    assert look(folders)[0]["id"] == run.id


def test_a_look_has_patience_only_and_the_next_goes_on(folders, monkeypatch):
    for _ in range(4):
        create(Config(), folders.runs)
    monkeypatch.setattr(archive, "PATIENCE_SECONDS", -1.0)
    kept = Archive(folders.runs, Reader())
    unread = [kept.look()["unread"] for _ in range(4)]
    assert unread == [3, 2, 1, 0]


def test_only_what_differs_is_told_and_no_webhook(folders):
    runs = [create(Config(lora_r=r, webhook_url=f"https://host/{r}"), folders.runs)
            for r in (4, 8)]
    rows = archive.differences(runs)
    assert {"group": "settings", "name": "Rank r", "values": ["4", "8"]} in rows
    assert [row for row in rows if row["group"] == "settings"] == [
        {"group": "settings", "name": "Rank r", "values": ["4", "8"]}]


def test_measurements_that_were_appended_are_read_only(folders):
    run, reader = create(Config(), folders.runs), Reader()
    path = run.folder / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    with reader.read(run.folder) as measured:
        assert list(measured.curves["loss"].values) == [2.0]
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": NaN}\n')
    with reader.read(run.folder) as measured:
        assert measured.curves["loss"].thinned(10) == [(1, 2.0), (2, None)]


def test_measurements_that_were_written_anew_are_read_anew(run):
    reader = Reader()
    with reader.read(run.folder) as measured:
        assert len(measured.curves["loss"].values) == 5
    run.forget_steps_after(2)
    with reader.read(run.folder) as measured:
        assert len(measured.curves["loss"].values) == 2


def test_thinning_loses_no_spike_and_no_gap(folders):
    run, reader = create(Config(), folders.runs), Reader()
    with (run.folder / "metrics.jsonl").open("w") as file:
        for step in range(1, 10_001):
            value = 99.0 if step == 5_003 else -9.0 if step == 7_001 else step % 7 / 7
            file.write(json.dumps({"step": step, "loss": value}) + "\n")
    with reader.read(run.folder) as measured:
        points = measured.curves["loss"].thinned(600)
    assert len(points) <= 600
    assert (5_003, 99.0) in points and (7_001, -9.0) in points
    assert points[0][0] == 1 and points[-1][0] == 10_000
    assert points == sorted(points)


def test_a_deleted_run_waits_in_the_trash_and_can_be_restored(run, folders):
    trash.throw_away(run, folders)
    assert list_runs(folders.runs) == []
    assert [each.id for each in trash.list_trash(folders)] == [run.id]
    assert trash.restore(run.id, folders).config() == Config(lora_r=3)
    trash.throw_away(run, folders)
    trash.empty(folders, run.id)
    assert trash.list_trash(folders) == list_runs(folders.runs) == []


def test_a_run_that_lies_elsewhere_by_a_link_is_emptied_as_a_link(run, folders, tmp_path):
    lies = run.folder.rename(tmp_path / "on another disk")
    run.folder.symlink_to(lies)
    trash.throw_away(run, folders)
    trash.empty(folders)
    assert not trash.list_trash(folders) and (lies / "config.yaml").is_file()


def test_a_run_at_work_is_not_deleted(run, folders):
    run.write_status(Status(state="running", pid=os.getpid(), pid_started=start_time(os.getpid())))
    with pytest.raises(UserError, match="at work"):
        trash.throw_away(run, folders)


def test_a_run_comes_back_beside_one_that_took_its_name(run, folders):
    trash.throw_away(run, folders)
    create(Config(), folders.runs).folder.rename(run.folder)
    assert trash.restore(run.id, folders).id == f"{run.id}-2"


def packed(path, members: dict, run: Run, top: str = "") -> None:
    with zipfile.ZipFile(path, "w") as file:
        for each in run.folder.rglob("*"):
            if each.is_file():
                file.write(each, f"{top}{each.relative_to(run.folder).as_posix()}")
        for name, content in members.items():
            file.writestr(name, content)


@pytest.mark.parametrize("top", ["", "mine/"])
def test_a_run_is_taken_in_from_a_zip_file(top, run, folders, tmp_path):
    run.write_status(replace(run.status(), state="running", pid=1))
    packed(tmp_path / "away.zip", {f"{top}run.sh": "rm -rf /", f"{top}stop": "now"}, run, top)
    taken = incoming.import_run(tmp_path / "away.zip", folders)
    assert taken.id == ("mine" if top else "away")
    assert taken.config() == run.config() and taken.metrics() == run.metrics()
    assert taken.status().state == "interrupted"
    assert not (taken.folder / "run.sh").exists() and not taken.stop_asked()


def test_a_run_is_taken_in_from_a_folder_twice_under_two_names(run, folders, tmp_path):
    source = run.folder.rename(tmp_path / "from elsewhere")
    names = [incoming.import_run(str(source), folders).id for _ in range(2)]
    assert names == ["from-elsewhere", "from-elsewhere-2"]


def link(name: str) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = (stat.S_IFLNK | 0o777) << 16
    return made


@pytest.mark.parametrize("name", [
    "../evil.txt", "adapter/../../evil.txt", "/etc/evil", "C:\\evil", "adapter\\..\\evil",
    link("adapter/link")], ids=lambda n: getattr(n, "filename", n))
def test_an_archive_that_would_write_elsewhere_is_refused(name, run, folders, tmp_path):
    packed(tmp_path / "bad.zip", {name: "/etc/passwd"}, run)
    with pytest.raises(UserError, match="outside"):
        incoming.import_run(tmp_path / "bad.zip", folders)
    assert [each.id for each in list_runs(folders.runs)] == [run.id]
    assert not list(folders.runs.glob(".import-*"))


def test_links_in_a_folder_are_not_followed(run, folders, tmp_path):
    (run.folder / "adapter").mkdir()
    (run.folder / "adapter" / "secret").symlink_to("/etc/passwd")
    (run.folder / "log.txt").symlink_to("/etc/passwd")
    taken = incoming.import_run(run.folder, folders)
    assert not (taken.folder / "adapter" / "secret").exists() and not taken.log.exists()


@pytest.mark.parametrize("make", [
    lambda path: path.write_bytes(b"no zip"), lambda path: path.mkdir(),
    lambda path: zipfile.ZipFile(path, "w").close(), lambda path: None])
def test_what_holds_no_run_is_told(make, folders, tmp_path):
    make(tmp_path / "thing.zip")
    with pytest.raises(UserError):
        incoming.import_run(tmp_path / "thing.zip", folders)


@pytest.mark.parametrize("way", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_zip_file_that_is_damaged_inside_is_told_and_leaves_nothing(way, folders, tmp_path):
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w", way) as file:
        file.writestr("config.yaml", "".join(f"# {n * n}\n" for n in range(5000)))
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(byte ^ 0xFF for byte in content[200:260])
    path.write_bytes(content)
    with pytest.raises(UserError, match="can't be read"):
        incoming.import_run(path, folders)
    assert not list(folders.runs.glob("*"))


def test_an_archive_larger_than_the_disk_is_refused(run, folders, tmp_path, monkeypatch):
    packed(tmp_path / "big.zip", {"adapter/zeros": b"0" * 5000}, run)
    monkeypatch.setattr(incoming.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 4096}))
    with pytest.raises(UserError, match="fit"):
        incoming.import_run(tmp_path / "big.zip", folders)


def test_settings_of_another_version_open_with_what_is_known(run, folders):
    raw = json.loads(json.dumps(run.config().to_dict()))
    del raw["lora_alpha"]
    write_json(run.folder / "config.yaml", raw | {"mood": "good", "optimizer": "magic"})
    assert run.config() == Config(lora_r=3)
    told = run.config_problems()
    assert len(told) == 2 and "magic" in told[0] and "mood" in told[1]


def test_a_line_that_is_finished_while_it_is_read_is_read_once(run, monkeypatch):
    measured, path = Measured(), run.folder / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    add = measured._add

    def add_while_the_trainer_writes(lines):
        add(lines)
        path.write_bytes(whole)

    monkeypatch.setattr(measured, "_add", add_while_the_trainer_writes)
    for _ in range(2):
        measured.follow(path)
    assert list(measured.curves["loss"].steps) == [1, 2, 3, 4, 5]


def test_a_cut_line_and_a_loss_that_is_no_number_spoil_no_other_line(run):
    path = run.folder / "metrics.jsonl"
    with path.open("ab") as file:
        file.write(b'{"step": 6, "lo\n{"step": 7, "loss": NaN}\n\n{"step": 8, "loss": 0.5}\n')
    with Reader().read(run.folder) as measured:
        assert measured.curves["loss"].thinned(99)[-2:] == [(7, None), (8, 0.5)]


def test_a_run_with_long_measurements_doesnt_keep_the_others_waiting(folders, run, monkeypatch):
    monkeypatch.setattr(archive, "LONG_BYTES", 10)
    monkeypatch.setattr(archive, "PATIENCE_SECONDS", 0.0)
    short = create(Config(lora_r=5), folders.runs)
    shown = Archive(folders.runs, Reader()).look()
    assert [each["id"] for each in shown["runs"]] == [short.id] and shown["unread"] == 1


def test_a_view_is_sent_when_it_changed_and_many_pages_ask_less_often(folders, run):
    read = run_view.reader(folders.runs, Reader())
    first = read([run.id, "", "page 0"])
    assert json.loads(first["view"])["step"] == 5
    again = read([run.id, first["revision"], "page 0"])
    assert "view" not in again and again["wait"] == 1
    waits = [read([run.id, first["revision"], f"page {n}"])["wait"] for n in range(200)]
    assert waits[19] == 20 / run_view.ASKS_PER_SECOND
    assert max(waits) == run_view.LONGEST_WAIT < run_view.FORGOTTEN_SECONDS


def served(folders) -> Callable[..., dict]:
    """The view's list of runs; each call asks for what is given, from 'revision' on."""
    reader = Reader()
    services = SimpleNamespace(
        folders=folders, reader=reader, archive=Archive(folders.runs, reader),
        trashed=Archive(folders.trash, reader))
    list_runs, *_ = runs_view.readers(services)
    return lambda revision="", **wanted: list_runs([revision, wanted])


def test_the_list_is_sent_when_it_changed_and_numbers_that_are_none_come_as_nothing(folders, run):
    run.append_metrics({"step": 0, "eval_loss": float("nan")})
    run.append_metrics({"step": 5, "eval_loss": 0.5})
    ask = served(folders)
    first = ask()
    shown = json.loads(first["list"], parse_constant=pytest.fail)["runs"][0]
    assert (shown["id"], shown["before"], shown["after"]) == (run.id, None, 0.5)
    assert ask(first["revision"]) == {"revision": first["revision"]}
    assert "list" in ask(first["revision"], search="no run")
    archive.describe(run, note="try again")
    assert json.loads(ask(first["revision"])["list"])["runs"][0]["note"] == "try again"


@pytest.mark.parametrize("kept_by, after", [
    ("", 1.4), ("loss", 1.1), ("token accuracy", 1.2), ("exact answers", 1.3)])
def test_the_list_tells_the_same_effect_as_the_run(kept_by, after, folders):
    """Each state is the best by one number; of two equal ones the first is kept."""
    made = create(Config(early_stopping_patience=1 if kept_by else 0, sample_answers=2,
                         eval_every="epoch", stop_on=kept_by or "loss"), folders.runs)
    for step, (loss, accuracy, exact) in enumerate(
            [(2.0, 0.1, 0.0), (1.1, 0.2, 0.5), (1.2, 0.9, 0.5), (1.3, 0.3, 1.0), (1.4, 0.9, 1.0)]):
        made.append_metrics({"step": step, "exact_answers": exact})
        made.append_metrics({"step": step, "eval_loss": loss, "token_accuracy": accuracy})
    [shown] = look(folders)
    assert made.effect() == (2.0, after) == (shown["before"], shown["after"])


def test_what_a_run_told_and_was_told_comes_home_with_it(run, folders, tmp_path):
    """Everything that this program writes into a run's folder, but what only its machine needs."""
    for name in ("energy", "passes", "quick", "merge", "forewarned", "verdict", "resumed"):
        run.write_facts(name, {"notices": [name]})
    append_json_line(run.folder / "samples.jsonl", {"step": 1, "text": "yes"})
    (run.folder / "evaluation").mkdir()
    write_json(run.folder / "evaluation" / "20260101-000000.json", {"format": 1})
    before = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*.json*")}
    packed(tmp_path / "away.zip", {}, run)
    for taken in (incoming.import_run(tmp_path / "away.zip", folders),
                  incoming.import_run(run.folder, folders)):
        assert {path.relative_to(taken.folder).as_posix()
                for path in taken.folder.rglob("*.json*")} == before


def test_of_many_runs_only_the_rows_that_are_shown_are_sent_and_all_are_searched(folders):
    ids = [create(Config(lora_r=4 + n), folders.runs).id for n in range(8)]
    for run_id in ids:
        Run(folders.runs / run_id).write_status(Status(state="finished", created=1.0 * len(run_id)))
    archive.describe(Run(folders.runs / ids[0]), tags=["old"], note="the needle")
    ask = served(folders)
    whole = json.loads(ask(count=3)["list"])
    assert (len(whole["runs"]), whole["found"], whole["total"], whole["tags"]) == (
        3, 8, 8, ["old"])
    assert ids[0] not in [each["id"] for each in whole["runs"]] and not whole["line"]
    for wanted in ({"search": "NEEDLE"}, {"tag": "old"}, {"search": "needle old"}):
        shown = json.loads(ask(count=3, chosen=[ids[1], "gone"], **wanted)["list"])
        assert [each["id"] for each in shown["runs"]] == [ids[0]] and shown["total"] == 8
        assert [each["id"] for each in shown["chosen"]] == [ids[1]]
    assert json.loads(ask(search="needle", state="failed")["list"])["found"] == 0


def test_the_line_is_told_whatever_is_searched_and_the_trash_is_a_list_of_its_own(folders, run):
    waits = create(Config(), folders.runs)
    ask = served(folders)
    trash.throw_away(run, folders)
    for wanted in ({"search": "nothing"}, {"trash": True}):
        shown = json.loads(ask(**wanted)["list"])
        assert [each["id"] for each in shown["line"]] == [waits.id] and shown["waiting"] == 1
    assert [each["id"] for each in shown["runs"]] == [run.id]


@pytest.mark.parametrize("falling", [True, False])
def test_runs_are_sorted_by_any_column_and_what_is_unknown_comes_last(falling):
    runs = [{"after": value, "state": "finished"} for value in (0.5, None, 2.0, 0.1)]
    found = [each["after"] for each in find(runs, Query.parse(
        {"sort": "after", "falling": falling}))]
    assert found == ([2.0, 0.5, 0.1] if falling else [0.1, 0.5, 2.0]) + [None]
    assert Query.parse({"sort": "__class__"}).sort == "created"


SPOILT = ["[]", "7", "null", '"x"', "{", "[" * 50_000, "\ud800".encode("utf-8", "surrogatepass"),
          '{"tags": 5, "note": [], "notices": 7}', '{"state": 5, "started": "x"}',
          '{"started": "1", "ended": null, "step": []}', '{"started": NaN, "devices": 7}',
          '{"step": 1e400, "pid": "x"}', '{"state": "running", "pid": -1, "pid_started": {}}']


@pytest.mark.parametrize("content", SPOILT, ids=lambda each: ascii(each)[:30])
def test_a_run_whose_files_are_spoilt_spoils_no_list(content, run, folders):
    spoilt = create(Config(), folders.runs)
    for name in ("status", "about", "verdict", "data", "environment"):
        path = spoilt.folder / f"{name}.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (spoilt.folder / "metrics.jsonl").write_text('[]\n7\n{"step": "x"}\n{"step": 1, "loss": "x"}\n'
                                                 '{"step": 10000000000000000000000, "loss": 1}\n')
    ask = served(folders)
    shown = json.loads(ask()["list"], parse_constant=pytest.fail)
    assert {each["id"] for each in shown["runs"]} == {run.id, spoilt.id}
    assert json.loads(run_view.reader(folders.runs, Reader())([spoilt.id, "", "a page"])["view"])


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))


@pytest.mark.parametrize("text", [
    LAUGHS, "lora_r: " + "[" * 100_000, "lora_r: &a [*a]", "&a {lora_r: *a}", "lora_r: [[1]]",
    "lora_r: " + "9" * 5000, "mood: 0x" + "f" * 20_000, "base_model: 2001-99-99", "- 1", "",
    "dataset: " + "x" * 2_000_000], ids=lambda text: text[:16])
def test_settings_that_would_fill_the_memory_or_are_none_are_refused(text, run, folders):
    (run.folder / "config.yaml").write_text(text)
    with pytest.raises(UserError):
        run.config()
    assert json.loads(served(folders)()["list"])["runs"][0]["id"] == run.id

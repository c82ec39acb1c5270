"""Whole checkpoints, Stop between two passes and in an evaluation, and runs that did nothing."""

import json
import os
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from core.config import Config
from core.errors import UserError
from core.training import checkpoint, engine, notify, trackers, verdict
from core.training.recorder import Recorder
from core.training.run import Run, Status, create


def make(folder, step: int, seal: bool = True):
    aside = folder.parent / "aside" / f"checkpoint-{step}"
    aside.mkdir(parents=True)
    (aside / "weights").write_bytes(b"w" * 100)
    (aside / checkpoint.STATE).write_text("{}")
    return checkpoint.commit(aside, folder) if seal else aside.rename(folder / aside.name)


@pytest.fixture
def checkpoints(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_a_checkpoint_is_whole_when_every_byte_is_as_it_was_written(checkpoints):
    assert checkpoint.damage(make(checkpoints, 3)) == ""


@pytest.mark.parametrize("harm", [
    lambda folder: (folder / "weights").write_bytes(b"v" * 100),
    lambda folder: (folder / "weights").write_bytes(b"w" * 99),
    lambda folder: (folder / "weights").unlink(),
    lambda folder: (folder / checkpoint.SEAL).write_text("{"),
])
def test_any_harm_is_seen_and_the_one_before_is_used(harm, checkpoints):
    before, newest = make(checkpoints, 9), make(checkpoints, 10)
    harm(newest)
    found, told = checkpoint.newest_whole(checkpoints)
    assert found == before and "step 10 is damaged" in told[0]
    assert checkpoint.newest_whole(checkpoints) == (before, [])


def test_a_checkpoint_of_a_version_without_seals_is_taken(checkpoints):
    folder = make(checkpoints, 3, seal=False)
    assert checkpoint.newest_whole(checkpoints)[0] == folder
    (folder / checkpoint.STATE).unlink()
    assert checkpoint.newest_whole(checkpoints)[0] is None


def test_the_newest_and_the_best_are_kept(checkpoints):
    for step in (1, 2, 3, 4):
        make(checkpoints, step)
    checkpoint.prune(checkpoints, 2, best_step=1)
    assert [checkpoint.step_of(p) for p in checkpoint.list_checkpoints(checkpoints)] == [4, 3, 1]


def losses(run: Run) -> list[float]:
    return [record["loss"] for record in run.metrics() if "loss" in record]


def test_stop_between_the_passes_of_a_step_loses_nothing(quick, folders, monkeypatch):
    config = replace(quick, max_steps=5, batch_size=2, gradient_accumulation=3, lora_dropout=0.2,
                     save_every="epoch")
    whole, run = create(config, folders.runs), create(config, folders.runs)
    engine.train(whole, folders)
    passes = []
    listen = Recorder.on_substep_end

    def stop_at_the_sixth(self, *heard, **more):
        passes.append(1)
        if len(passes) == 6:
            run.ask_to_stop(at_once=False)
        listen(self, *heard, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_substep_end", stop_at_the_sixth)
        engine.train(run, folders)
    assert (run.status().state, run.status().step, len(passes)) == ("stopped", 2, 6)
    assert checkpoint.step_of(run.last_checkpoint()) == 2
    run.withdraw_stop()
    engine.train(run, folders)
    assert losses(run) == losses(whole)


def test_stop_in_an_evaluation_saves_and_the_evaluation_is_made_up_for(
        quick, folders, monkeypatch):
    config = replace(quick, max_steps=6, eval_every="steps", eval_steps=3, batch_size=4,
                     lora_dropout=0.2, early_stopping_patience=3)
    whole, run = create(config, folders.runs), create(config, folders.runs)
    engine.train(whole, folders)
    listen = Recorder.on_prediction_step

    def stop_at_step_three(self, args, state, control, **more):
        if state.global_step == 3:
            run.ask_to_stop(at_once=False)
        listen(self, args, state, control, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_prediction_step", stop_at_step_three)
        engine.train(run, folders)
    assert (run.status().state, run.status().step) == ("stopped", 3)
    run.withdraw_stop()
    engine.train(run, folders)
    found, expected = ([{k: r[k] for k in ("step", "loss", "eval_loss") if k in r}
                        for r in each.metrics()] for each in (run, whole))
    assert found == expected
    assert run.effect() == whole.effect()


def test_stop_before_the_first_step_ends_without_an_adapter(quick, folders):
    run = create(replace(quick, max_steps=3, batch_size=2, gradient_accumulation=4), folders.runs)
    run.ask_to_stop(at_once=False)
    engine.train(run, folders)
    assert (run.status().state, run.status().step) == ("stopped", 0)
    assert not run.adapter.exists() and run.last_checkpoint() is None


@pytest.mark.parametrize("stops", [False, True])
def test_a_run_that_ended_keeps_no_folder_of_unfinished_checkpoints(stops, quick, folders):
    run = create(replace(quick, max_steps=2, save_every="steps", save_steps=1), folders.runs)
    if stops:
        run.ask_to_stop(at_once=False)
    engine.train(run, folders)
    assert run.status().state == ("stopped" if stops else "finished")
    assert not run.saving.exists()


def test_an_early_stopped_run_that_lost_its_end_does_not_train_on(quick, folders):
    config = replace(quick, epochs=50, eval_every="steps", eval_steps=2, learning_rate=0.5,
                     early_stopping_patience=2, max_grad_norm=0.0)
    run = create(config, folders.runs)
    engine.train(run, folders)
    first, metrics = run.status(), run.metrics()
    weights = (run.adapter / "adapter_model.safetensors").read_bytes()
    run.write_status(Status(state="interrupted"))
    engine.train(run, folders)
    assert run.status().step == first.step
    assert [r["step"] for r in run.metrics()] == [r["step"] for r in metrics]
    assert (run.adapter / "adapter_model.safetensors").read_bytes() == weights


def test_a_run_that_changed_no_weight_is_a_failure(quick, folders):
    run = create(replace(quick, max_steps=2, learning_rate=1e-30, eval_rows=0), folders.runs)
    with pytest.raises(UserError, match="learned nothing") as caught:
        engine.train(run, folders)
    assert "learning rate" in caught.value.remedy


def test_few_steps_are_warned_of_before_and_flagged_after(quick, folders):
    assert "Only 7 steps" in verdict.forewarnings(quick, 56)[0]
    assert verdict.forewarnings(replace(quick, epochs=20), 56) == []
    run = create(replace(quick, max_steps=2), folders.runs)
    engine.train(run, folders)
    assert any("2 steps" in sentence for sentence in run.facts("verdict")["notices"])


def test_tensorboard_files_are_written_with_every_curve(quick, folders):
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c  # noqa: F401  the format is its own

    run = create(replace(quick, max_steps=3), folders.runs)
    engine.train(run, folders)
    content = next((run.folder / "tensorboard").iterdir()).read_bytes()
    found, at = set(), 0
    while at < len(content):  # records: length, its checksum, the event, its checksum
        length = int.from_bytes(content[at:at + 8], "little")
        event = Event.FromString(content[at + 12:at + 12 + length])
        found |= {(value.tag, event.step) for value in event.summary.value}
        at += 16 + length
    assert {("train/loss", 1), ("train/loss", 3), ("held_out/loss", 0),
            ("held_out/loss", 3)} <= found


def test_a_tracker_that_fails_does_not_end_the_run(quick, folders, monkeypatch):
    class Broken:
        def __getattr__(self, event):
            raise ConnectionError("no key")

    monkeypatch.setattr(trackers, "_foreign", lambda name, run: Broken())
    run = create(replace(quick, max_steps=2, eval_rows=0, trackers=("wandb",)), folders.runs)
    engine.train(run, folders)
    assert run.status().state == "finished"
    told = run.facts("trackers")["notices"]
    assert len(told) == 1 and told[0].startswith("wandb") and "no key" in told[0]


def test_trackers_write_beside_the_run_unless_told_otherwise(quick, folders, monkeypatch):
    run = create(replace(quick, trackers=("wandb", "mlflow")), folders.runs)
    for name in trackers._places(run):
        monkeypatch.setenv(name, "elsewhere")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_PROJECT", "my own")
    monkeypatch.setattr(trackers, "_foreign", lambda name, run: None)
    trackers.callbacks(run, run.config())
    assert os.environ["WANDB_PROJECT"] == "my own"
    assert os.environ["WANDB_DIR"] == str(run.folder)
    assert str(folders.home) in os.environ["MLFLOW_TRACKING_URI"]


def test_an_unknown_tracker_is_told():
    with pytest.raises(UserError, match="Trackers: found nosuch"):
        Config(trackers=("nosuch",))


@pytest.fixture
def webhook():
    """A server on this machine that keeps what it is sent; (address, what came)."""
    came = []

    class Take(BaseHTTPRequestHandler):
        def do_POST(self):
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200 if "good" in self.path else 500)
            self.end_headers()

        def log_message(self, *_):
            return

    server = HTTPServer(("127.0.0.1", 0), Take)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", came
    server.shutdown()


def test_a_webhook_is_told_the_end_of_a_run(webhook, folders):
    address, came = webhook
    run = create(Config(webhook_url=f"{address}/good/token"), folders.runs)
    run.update(state="finished", words="Finished at step 9.", step=9)
    assert notify.tell_end(run)
    assert came[0]["run"] == run.id and came[0]["state"] == "finished"
    assert "token" not in json.dumps(came)


@pytest.mark.parametrize("address", ["{}/bad/secret", "http://127.0.0.1:9/secret",
                                     "http://no such host/secret"])
def test_a_webhook_that_fails_harms_nothing_and_its_token_is_not_logged(
        address, webhook, folders, capsys, caplog):
    run = create(Config(webhook_url=address.format(webhook[0])), folders.runs)
    assert not notify.tell_end(run)
    assert "secret" not in capsys.readouterr().out + caplog.text

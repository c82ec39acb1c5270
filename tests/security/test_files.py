"""Which files the running server gives out and takes in, whatever it is asked."""

import io
import json
import os
import zipfile

import httpx
import pytest

from core.confine import child, is_inside
from core.errors import UserError
from core.training import incoming
from core.training.run import find_run
from tests.e2e.conftest import App
from tests.security.conftest import ROOT, ask

SECRET = "canary-of-a-file"


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> App:
    """With what an attacker would like: a secret beside the temporary folder, links to it, and an
    environment that allows everything."""
    place = tmp_path_factory.mktemp("files")
    served = App(place / "TuneDesk", environment={
        "GRADIO_ALLOWED_PATHS": "/", "GRADIO_SHARE": "true", "GRADIO_ALLOW_FLAGGING": "auto"})
    (place / "TuneDesk" / "tmp").mkdir(parents=True)
    (place / "secret.json").write_text(json.dumps([{"text": SECRET}]))
    (place / "TuneDesk" / "draft.json").write_text(json.dumps({"dataset": SECRET}))
    os.symlink(place / "secret.json", place / "TuneDesk" / "tmp" / "link.json")
    os.symlink(place, place / "TuneDesk" / "tmp" / "folder")
    served.start("--upload-limit", "1")
    yield served
    served.end()


def upload(app: App, name: str, content: bytes) -> httpx.Response:
    return httpx.post(f"{app.url}/gradio_api/upload", files={"files": (name, content)}, timeout=60)


@pytest.mark.parametrize("route", ["/gradio_api/file=", "/file=", "/gradio_api/file/", "/file/"])
def test_only_files_of_the_temporary_folder_are_given_out(app: App, route):
    home = app.home
    wanted = [home.parent / "secret.json", home / "draft.json", home / "tmp" / ".." / "draft.json",
              home / "tmp" / "link.json", home / "tmp" / "folder" / "secret.json", "/etc/passwd",
              "../../../../etc/passwd", "tmp/../draft.json", ROOT / "app.py", "app.py",
              f"{home}/tmp/%2e%2e/draft.json", f"{home}/tmp/..%2fdraft.json", home / "tmp",
              "//etc/passwd", "/proc/self/environ", "file:///etc/passwd", f"{home}/tmp/x\0.json",
              "~/.ssh/id_rsa", "x" * 5000, app.url, "http://169.254.169.254/latest"]
    with httpx.Client() as client:
        for path in wanted:
            raw = f"{route}{path}".replace("\0", "%00").encode()
            request = client.build_request("GET", app.url)
            request.url = request.url.copy_with(raw_path=raw)
            answer = client.send(request)
            assert answer.status_code in (403, 404), (path, answer.status_code)
            assert SECRET not in answer.text and "root:" not in answer.text


def test_what_was_uploaded_is_given_out_but_never_as_a_page(app: App):
    path = upload(app, "evil.html", b"<script>alert(1)</script>").json()[0]
    answer = httpx.get(f"{app.url}/gradio_api/file={path}")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["../../../evil.csv", "/tmp/evil.csv", "..\\..\\evil.csv", ".",
                                  "a" * 300 + ".csv", "evil\0.csv"])
def test_an_upload_lands_in_the_temporary_folder_whatever_its_name(app: App, name):
    answer = upload(app, name, b"text\nx\n")
    assert answer.status_code in (200, 400, 422, 500)
    if answer.status_code == 200:
        assert is_inside(answer.json()[0], app.home / "tmp")


def test_an_upload_bomb_is_refused_before_it_is_taken_in(app: App):
    before = sum(f.stat().st_size for f in (app.home / "tmp").rglob("*") if f.is_file())
    assert upload(app, "bomb.csv", b"x" * 3_000_000).status_code == 413

    def unmeasured():
        for _ in range(100):
            yield b"x" * 100_000

    answer = httpx.post(f"{app.url}/gradio_api/upload", content=unmeasured(), headers={
        "Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 411
    after = sum(f.stat().st_size for f in (app.home / "tmp").rglob("*") if f.is_file())
    assert after - before < 100_000


@pytest.mark.parametrize("route", [
    "/gradio_api/proxy=http://169.254.169.254/", "/proxy=http://127.0.0.1:1/",
    "/gradio_api/vibe-code", "/gradio_api/dev/reload", "/gradio_api/profiling/traces", "/vibe-edit",
    "/gradio_api/deep_link?session_hash=a", "/gradio_api/stream/x/close",
    "/gradio_api/run-history/buckets",
    "/gradio_api/custom_component/x/client/component/../../../../etc/passwd"])
def test_routes_that_fetch_or_write_programs_are_closed(app: App, route):
    assert httpx.get(app.url + route).status_code == 404
    assert httpx.post(app.url + route, json={}).status_code in (404, 405)


@pytest.mark.parametrize("route", ["/static/", "/assets/", "/svelte/", "/pwa_icon/"])
def test_the_pages_own_files_are_no_way_out(app: App, route):
    for path in ("../../../../../../etc/passwd", "%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
                 "/etc/passwd", "..%2f..%2f..%2fapp.py"):
        answer = httpx.get(app.url + route + path)
        assert "root:" not in answer.text and "import argparse" not in answer.text
        assert answer.status_code != 200 or "<html" in answer.text.lower()


def sent(button: str, path: str) -> dict | list:
    """A file as the page sends it; the data set's button takes several."""
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    return [file] if button == "upload" else file


@pytest.mark.parametrize("button", ["upload", "settings-import", "chat-load", "runs-upload"])
def test_an_upload_button_takes_no_path_of_this_computer(app: App, button):
    """The page's own call, with a path in place of what was uploaded."""
    for path in (str(app.home / "draft.json"), str(app.home.parent / "secret.json"), "/etc/passwd",
                 str(app.home / "tmp" / "folder" / "secret.json")):
        told = ask(app, button, sent(button, path))
        assert SECRET not in told and '"success":true' not in told.replace(" ", ""), told[-500:]


def test_an_upload_button_takes_what_was_uploaded(app: App):
    path = upload(app, "mine.csv", b"question,answer\nq,a\n").json()[0]
    told = ask(app, "upload", sent("upload", path))
    assert '"success":true' in told.replace(" ", "") and "mine.csv" in told


def test_an_upload_button_takes_only_its_kinds(app: App):
    path = upload(app, "evil.exe", b"MZ").json()[0]
    for button in ("upload", "settings-import", "chat-load", "runs-upload"):
        told = ask(app, button, sent(button, path))
        assert "file type" in told.lower() or '"success":false' in told.replace(" ", "")


BAD = ["../x", "..", ".", "/etc", "a/../../x", "runs\\..\\x", "x\0", "", ".hidden", "../runs/a-run",
       None, 7, ["a"], {"a": 1}]


@pytest.mark.parametrize("name", BAD, ids=str)
def test_no_name_of_a_run_leaves_the_runs_folder(folders, name):
    (folders.home / "config.yaml").write_text("{}")
    (folders.runs / "a-run").mkdir()
    (folders.runs / "a-run" / "config.yaml").write_text("{}")
    assert child(folders.runs, name) is None
    with pytest.raises(UserError):
        find_run(folders.runs, name)
    assert find_run(folders.runs, "a-run")


ENDPOINTS = ("run_status", "run_metrics", "stop_training", "resume_training", "remove_run",
             "evaluation", "settings")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_no_endpoint_leaves_its_folder(app: App, endpoint):
    (app.home / "config.yaml").write_text("base_model: canary-of-a-file\n")
    for name in ("../", "..", f"../../{app.home.parent.name}", "../draft.json", str(app.home), "."):
        told = ask(app, endpoint, name)
        assert '"success":false' in told.replace(" ", ""), told
        assert SECRET not in told
    assert (app.home / "config.yaml").exists() and (app.home / "draft.json").exists()


@pytest.mark.parametrize("form", ["../../runs/x", "..", "/tmp/x", "adapter/../../.."])
def test_no_form_of_export_leaves_the_exports_folder(app: App, form):
    told = ask(app, "export_run", "a-run", form)
    assert '"success":false' in told.replace(" ", "")
    status = ask(app, "export_status")
    assert '"state": "idle"' in status or '"state":"idle"' in status or "failed" not in status


def test_a_bomb_among_zip_files_is_refused_before_it_is_unpacked(folders):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.yaml", "{}")
        for number in range(20_001):
            archive.writestr(f"adapter/{number}", "")
    (folders.temporary / "bomb.zip").write_bytes(packed.getvalue())
    with pytest.raises(UserError, match="files"):
        incoming.import_run(folders.temporary / "bomb.zip", folders)
    assert list(folders.runs.iterdir()) == []

"""A run outlives pages and servers; Stop stops; data goes in by upload."""

import re
import shutil
import signal
import socket

import pytest
from playwright.sync_api import expect

from core.training.run import create
from tests.e2e.conftest import (
    App,
    fill,
    open_tab,
    wait_for_state,
    wait_for_step,
    wait_until,
)


@pytest.mark.slow
def test_a_run_goes_on_while_the_server_is_killed_and_is_found_again(app: App, open_page):
    page = open_page()
    open_tab(page, "Settings")
    fill(page, "epochs", "50")
    page.locator("#start").click()
    wait_for_step(page, 2)
    run = next((app.home / "runs").glob("2*"))
    app.end(signal.SIGKILL)
    size = (run / "metrics.jsonl").stat().st_size
    wait_until(lambda: (run / "metrics.jsonl").stat().st_size > size)
    app.start()
    again = open_page()
    open_tab(again, "Train")
    wait_for_state(again, "running")
    wait_for_step(again, 4)
    again.locator("#stop").click()
    wait_for_state(again, "stopped")
    expect(again.locator("#resume")).to_be_enabled()
    assert (run / "adapter" / "adapter_model.safetensors").exists()
    again.locator("#resume").click()
    wait_for_state(again, "running")
    again.locator("#stop-now").click()
    wait_for_state(again, "stopped")


@pytest.mark.slow
def test_two_starts_wait_in_line_and_the_second_can_be_taken_out(open_page):
    page = open_page()
    open_tab(page, "Settings")
    fill(page, "epochs", "50")
    page.locator("#start").click()
    wait_for_step(page, 1)
    page.locator("#start").click()
    wait_for_state(page, "queued")
    expect(page.locator(".toast-body").first).to_contain_text("waits in line")
    page.locator("#stop").click()
    wait_for_state(page, "stopped")
    open_tab(page, "Runs")
    expect(page.locator("#runs-table")).to_contain_text("running")
    page.locator("#runs-table").get_by_text("running").first.click()
    page.locator("#runs-watch").click()
    wait_for_state(page, "running")
    page.locator("#stop-now").click()
    wait_for_state(page, "stopped")


def test_a_run_that_has_ended_offers_only_what_can_be_done(app: App, open_page, quick):
    made, page = create(quick, app.aside()), None
    made.update(state="finished", words="It ended.")
    run = app.take(made)
    for state, can_resume in (("finished", False), ("failed", True)):
        run.update(state=state, words="It ended.")
        page = page or open_page()
        open_tab(page, "Train")
        wait_for_state(page, state)
        expect(page.locator("#resume")).to_be_enabled(enabled=can_resume)
        for button in ("#stop", "#stop-now"):
            expect(page.locator(button)).to_be_disabled()
    shutil.rmtree(run.folder)  # as another page deletes it
    expect(page.locator("#resume")).to_be_disabled()


def test_an_uploaded_file_is_read_shown_and_its_columns_reassigned(open_page, tmp_path):
    rows = tmp_path / "人口 data.csv"
    rows.write_text("ask,reply,other\nWhat is water?,H2O,wet\nWhat is salt?,NaCl,white\n",
                    encoding="utf-8")
    page = open_page()
    with page.expect_file_chooser() as chooser:
        page.locator("#upload").click()
    chooser.value.set_files(rows)
    status = page.locator("#data-status")
    expect(status).to_contain_text("ask, reply, other")
    page.get_by_role("button", name="Columns").click()
    for setting, column in (("prompt_column", "ask"), ("answer_column", "reply")):
        field = page.locator(f"#set-{setting} input")
        field.fill(column)
        field.press("Enter")
        field.blur()
    tokens = page.locator(".td-tokens")
    expect(tokens).to_contain_text(re.compile("H2O|NaCl"))


def test_an_upload_is_chosen_for_good_at_once(open_page, tmp_path):
    rows = tmp_path / "kept.jsonl"
    rows.write_text('{"question": "What is salt?", "answer": "NaCl"}\n' * 4, encoding="utf-8")
    page = open_page()
    with page.expect_file_chooser() as chooser:
        page.locator("#upload").click()
    chooser.value.set_files(rows)
    expect(page.locator("#header")).to_contain_text("kept.jsonl")
    page.reload()
    expect(page.locator("#set-dataset input")).to_have_value(re.compile("kept"))
    expect(page.locator(".td-tokens")).to_contain_text("NaCl")


def test_a_port_in_use_is_passed_over(app: App, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other = App(tmp_path / "home")
        other.start("--port", str(port))
        try:
            assert int(other.url.rpartition(":")[2]) > port
        finally:
            other.end()


@pytest.mark.slow
def test_servers_that_start_at_the_same_moment_take_ports_of_their_own(tmp_path):
    together = [App(tmp_path / name) for name in ("one", "two")]
    try:
        for each in together:
            each.begin()
        for each in together:
            each.wait_for_address()
        assert together[0].url != together[1].url
    finally:
        for each in together:
            each.end()


@pytest.mark.slow
def test_a_page_exports_its_own_settings_whatever_another_page_sets(open_page):
    def exported(page) -> str:
        with page.expect_download() as download:
            page.locator("#settings-export").click()
        return download.value.path().read_text(encoding="utf-8")

    one, two = open_page(), open_page()
    for page, epochs in ((one, "7"), (two, "9")):
        open_tab(page, "Settings")
        fill(page, "epochs", epochs)
        wait_until(lambda page=page, epochs=epochs: f"epochs: {epochs}" in exported(page))
    assert "epochs: 7" in exported(one)

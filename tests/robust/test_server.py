"""The whole server under a crowd, quick fingers, kills, a neighbour on its folder, a long watch."""

import argparse
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psutil
import pytest
from gradio_client import Client
from playwright.sync_api import expect

from core.training.run import Run, list_runs
from tests.e2e.conftest import DEADLINE_SECONDS, App, make_home, open_tab, wait_for_state

MARK = "TUNEDESK_TEST"  # in the environment of each process that a server of this test started


@pytest.fixture
def app(tmp_path) -> Iterator[App]:
    home = make_home(tmp_path / "TuneDesk")
    served = App(home, environment={MARK: str(home)})
    served.start()
    yield served
    served.end()


def left_over(app: App) -> list[str]:
    """The command lines of processes that servers on this folder started, and theirs."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.environ().get(MARK) == str(app.home) and \
                    each.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(each.cmdline()))
        except psutil.Error:
            continue  # it has ended, or isn't ours
    return found


@pytest.mark.slow
def test_fifty_clients_at_once_get_what_one_gets(app: App, quick):
    settings = quick.to_dict()

    def ask(client: Client) -> list:
        return [client.predict(settings, api_name="/describe")["trainable"],
                client.predict(settings, "train", 3, api_name="/preview")["messages"],
                client.predict(api_name="/list_runs"),
                client.predict("Tutorial run", api_name="/settings")]

    alone = ask(Client(app.url, verbose=False))
    with ThreadPoolExecutor(50) as crowd:
        clients = list(crowd.map(lambda _: Client(
            app.url, verbose=False, httpx_kwargs={"timeout": DEADLINE_SECONDS}), range(50)))
        answers = list(crowd.map(ask, clients))
    assert len(answers) == 50 and all(answer == alone for answer in answers)


@pytest.mark.slow
@pytest.mark.e2e
def test_a_double_click_on_start_starts_one_run_and_quick_stops_stop_it_once(app: App, browser):
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(DEADLINE_SECONDS * 1000)
    page.goto(app.url)
    expect(page.locator("#summary")).to_contain_text("parameters")
    page.locator("#start").click(click_count=5, delay=10)
    open_tab(page, "Train")
    expect(page.locator("#stop-now")).to_be_enabled()
    page.locator("#stop-now").click(click_count=5, delay=10)
    wait_for_state(page, "stopped")
    assert len(list_runs(app.home / "runs")) == 1
    page.close()


@pytest.mark.slow
@pytest.mark.e2e
def test_the_page_of_a_second_server_says_who_starts_the_runs(app: App, browser, quick, wait_for):
    second = App(app.home, environment={MARK: str(app.home)})
    second.start()
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(DEADLINE_SECONDS * 1000)
    try:
        page.goto(second.url)
        expect(page.locator("#elsewhere")).to_contain_text(app.url)
        client = Client(second.url, verbose=False)
        run_id = client.predict(quick.to_dict() | {"max_steps": 1}, api_name="/start_training")
        wait_for(lambda: Run(app.home / "runs" / run_id).status().state == "finished",
                 "the first server did it")
        app.end(signal.SIGKILL)
        run_id = client.predict(quick.to_dict() | {"max_steps": 1}, api_name="/start_training")
        wait_for(lambda: Run(app.home / "runs" / run_id).status().state == "finished",
                 "the second took over")
        page.reload()
        expect(page.locator("#summary")).to_contain_text("parameters")
        expect(page.locator("#elsewhere")).not_to_contain_text("Another")
    finally:
        page.close()
        second.end()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(os.name == "nt", reason="kills processes as Unix does")
def test_a_storm_of_killed_servers_neither_touches_a_run_nor_leaves_a_process(
        app: App, endless, wait_for):
    client = Client(app.url, verbose=False)
    forever = replace(endless, save_every="never").to_dict()
    first, second = (Run(app.home / "runs" / client.predict(forever, api_name="/start_training"))
                     for _ in range(2))
    wait_for(lambda: len(first.metrics()) > 2, "it trains")
    pid, seen = first.status().pid, 0
    for _ in range(6):
        app.end(signal.SIGKILL)
        app.start()
        status = first.status()
        assert (status.state, status.pid) == ("running", pid)
        assert second.status().state == "queued" and len(first.metrics()) > seen
        seen = len(first.metrics())
    client = Client(app.url, verbose=False)
    for run in (second, first):
        client.predict(run.id, True, api_name="/stop_training")
    wait_for(lambda: {first.status().state, second.status().state} == {"stopped"}, "both stop")
    app.end()
    wait_for(lambda: not left_over(app), lambda: f"these are left: {left_over(app)}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_servers_memory_stays_flat_while_a_page_watches(folders, capsys):
    from bench.endure import watch

    watch(folders, argparse.Namespace(seconds=3600))
    line = next(each for each in capsys.readouterr().out.splitlines() if "each tenth" in each)
    memory = [float(each) for each in line.split("|")[2].split(",")]
    assert len(memory) == 10 and memory[-1] - memory[2] < 25, memory


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_runs_leave_the_server_at_rest(folders, capsys):
    from bench.endure import many_runs
    from bench.two_gpus import TINY, make_model

    make_model(folders.models / "tiny", TINY)
    many_runs(folders, argparse.Namespace(runs=10_000))
    line = next(each for each in capsys.readouterr().out.splitlines() if "at rest" in each)
    assert float(line.split("|")[2].strip(" %")) < 25, line

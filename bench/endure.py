"""Ten thousand runs, and a watch of eight hours: parts of `python -m bench.load`."""

import argparse
import json
import os
import shutil
import subprocess
import time
from dataclasses import asdict

import httpx
import psutil
from gradio_client import Client

from bench.served import rss, server, settings, spread, tell, wait_for
from core.config import Config
from core.files import Folders
from core.training import alive
from core.training.run import Run, Status, create


def many_runs(folders: Folders, options: argparse.Namespace) -> None:
    """What the server does all the time, and what a click costs, with so many folders."""
    make_runs(folders, options.runs)
    with server(folders) as (child, url):
        began = time.monotonic()
        answer, revision, looks = poll(url, "runs-view", "list_runs", ["", {}]), "", 0
        first = time.monotonic() - began
        while json.loads(answer.get("list", "{}")).get("unread"):
            revision, looks = answer["revision"], looks + 1
            answer = poll(url, "runs-view", "list_runs", [revision, {}])
        whole, size = time.monotonic() - began, len(answer["list"])
        tell(f"{options.runs:,} runs never listed: first part, all, s; sent of it, kB",
             f"{first:.2f}, {whole:.0f}; {size / 1e3:.0f}")
        revision, took = answer["revision"], []
        for _ in range(20):
            began = time.monotonic()
            poll(url, "runs-view", "list_runs", [revision, {}])
            took.append(time.monotonic() - began)
        tell("a poll of the list when nothing changed, s: median, 95 %, slowest", spread(took))
        tell("share of one core that the server takes at rest", f"{busy(child, 20):.1%}")
        client = Client(url, verbose=False)
        client.predict(settings(folders), api_name="/describe")
        began = time.monotonic()
        run_id = client.predict(settings(folders), api_name="/start_training")
        asked = time.monotonic() - began
        run = Run(folders.runs / run_id)
        began_work = wait_for(lambda: run.status().state == "running")
        tell("Start: seconds until the page knows the run, until it is at work",
             f"{asked:.2f}, {asked + began_work:.2f}")
        began = time.monotonic()
        client.predict(run_id, True, api_name="/stop_training")
        wait_for(lambda: run.status().state == "stopped")
        tell("Stop now: seconds until it has stopped", f"{time.monotonic() - began:.2f}")
        tell("memory of the server, MiB", f"{rss(child):.0f}")


def make_runs(folders: Folders, count: int) -> None:
    """Copies of one finished run with 200 records, written without waiting for the disk."""
    model = create(Config(), folders.runs)
    model.write_status(Status(state="finished", step=200, total_steps=200, created=1.8e9,
                              started=1.8e9, ended=1.8e9 + 60))
    (model.folder / "metrics.jsonl").write_text("".join(
        json.dumps({"step": step, "loss": 3 / step, "learning_rate": 1e-4, "grad_norm": 1.0,
                    "tokens_per_second": 90.0}) + "\n" for step in range(1, 201)))
    for number in range(count - 1):
        shutil.copytree(model.folder, folders.runs / f"20260101-000000-copy-{number:05d}")


def busy(child: subprocess.Popen, seconds: float) -> float:
    process = psutil.Process(child.pid)
    used, began = sum(process.cpu_times()[:2]), time.monotonic()
    time.sleep(seconds)
    return (sum(process.cpu_times()[:2]) - used) / (time.monotonic() - began)


def watch(folders: Folders, options: argparse.Namespace) -> None:
    """A run at work whose every second is a record, a page that asks for it each second and for the
    list each other one, four ticks of the queue a second, a new visitor every five minutes: all as
    quickly as the server answers. Memory is looked at ten times."""
    run = create(Config(), folders.runs)
    me = os.getpid()
    run.write_status(Status(state="running", pid=me, pid_started=alive.start_time(me),
                            boot=alive.boot_id(), started=time.time(), total_steps=options.seconds))
    for number in range(20):
        shutil.copytree(run.folder, folders.runs / f"20250101-00000{number % 10}-{number}")
        Run(folders.runs / f"20250101-00000{number % 10}-{number}").write_status(
            Status(state="finished", started=1.0, ended=2.0))
    with server(folders, tick_seconds=0.002) as (child, url), httpx.Client(
            base_url=url, headers={"Origin": url}, timeout=60) as page:
        run_view, runs_view = (view_id(page, name) for name in ("run-view", "runs-view"))
        seen, memory, began = ["", ""], [], time.monotonic()
        for second in range(options.seconds):
            run.append_metrics({"step": second + 1, "loss": 1.0 + second % 7, "grad_norm": 1.0,
                                "learning_rate": 1e-4, "tokens_per_second": 90.0})
            if second % 60 == 0:
                run.write_status(Status(**asdict(run.written_status()) | {"step": second + 1}))
            seen[0] = ask(page, run_view, "read_run", [run.id, seen[0], "a page"])["revision"]
            if second % 2 == 0:
                seen[1] = ask(page, runs_view, "list_runs", [seen[1], {}])["revision"]
            if second % 300 == 0:
                for path in ("/", "/config"):
                    page.get(path).raise_for_status()
            if second % (options.seconds // 10) == options.seconds // 10 - 1:
                memory.append(rss(child))
        spent = time.monotonic() - began
        ticks = psutil.Process(child.pid).cpu_times()
        run.write_status(Status(state="finished", started=1.0, ended=2.0))
    tell(f"{options.seconds / 3600:g} hours of watching, in seconds; processor seconds of it",
         f"{spent:.0f}; {ticks.user + ticks.system:.0f}")
    tell("memory of the server after each tenth, MiB", ", ".join(f"{each:.0f}" for each in memory))


def view_id(page: httpx.Client, name: str) -> int:
    config = page.get("/config").json()
    return next(c["id"] for c in config["components"] if c["props"].get("elem_id") == name)


def ask(page: httpx.Client, view: int, function: str, asked: list) -> dict:
    answer = page.post("/gradio_api/component_server", json={
        "data": asked, "component_id": view, "fn_name": function, "session_hash": "a page"})
    answer.raise_for_status()
    return answer.json()


def poll(url: str, name: str, function: str, asked: list) -> dict:
    with httpx.Client(base_url=url, headers={"Origin": url}, timeout=120) as page:
        return ask(page, view_id(page, name), function, asked)

"""Crowds, quick clicks, killed servers, ten thousand runs, a long watch. `python -m bench.load`."""

import argparse
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gradio_client import Client

from bench.endure import many_runs, watch
from bench.served import none_left, rss, server, settings, spread, tell, wait_for
from bench.two_gpus import TINY, make_model
from core.files import Folders, default_folders
from core.training.run import ACTIVE, FINAL, Run, list_runs

WATCHED_SECONDS = 8 * 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default="clients,clicks,restarts,runs,watch")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--clicks", type=int, default=1000)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=WATCHED_SECONDS,
                        help="that a page watches a run for, simulated")
    options = parser.parse_args()
    print("| what | figure |\n|---|---|", flush=True)
    for part in options.parts.split(","):
        with tempfile.TemporaryDirectory(prefix="tunedesk-bench-") as place:
            folders = default_folders(Path(place) / "TuneDesk").make()
            make_model(folders.models / "tiny", TINY)
            PARTS[part](folders, options)


def clients(folders: Folders, options: argparse.Namespace) -> None:
    """Each asks for everything that a page asks for, at once with the others."""
    wanted, took, failures = settings(folders), [], []
    with server(folders) as (child, url):
        first = Client(url, verbose=False)
        first.predict(wanted, api_name="/describe")  # the data set and tokenizer are open
        before = rss(child)

        def one(number: int) -> None:
            client = Client(url, verbose=False, httpx_kwargs={"timeout": 300})
            for name, *asked in (("/describe", wanted), ("/preview", wanted, "train", number),
                                 ("/list_runs",), ("/audit", wanted), ("/list_choices",)) * 4:
                began = time.monotonic()
                try:
                    client.predict(*asked, api_name=name)
                except Exception as error:
                    failures.append(f"{name}: {error}")
                took.append(time.monotonic() - began)

        began = time.monotonic()
        with ThreadPoolExecutor(options.clients) as crowd:
            list(crowd.map(one, range(options.clients)))
        spent = time.monotonic() - began
        tell(f"{options.clients} clients at once, {len(took):,} calls: failed, a second",
             f"{len(failures)}, {len(took) / spent:.0f}")
        tell("seconds a call: median, 95 %, slowest", spread(took))
        tell("memory of the server before and after, MiB", f"{before:.0f}, {rss(child):.0f}")
    if failures:
        print(set(failures), file=sys.stderr)


def clicks(folders: Folders, options: argparse.Namespace) -> None:
    """Start and Stop in turns by four hands, as quickly as the server answers."""
    started, refused, most = [], [], [0]
    ends = threading.Event()

    def count() -> None:
        while not ends.is_set():
            at_work = sum(run.status().state in ACTIVE for run in list_runs(folders.runs))
            most[0] = max(most[0], at_work)
            time.sleep(0.05)

    with server(folders) as (_, url):
        def hand(number: int) -> None:
            client, mine = Client(url, verbose=False), ""
            for turn in range(options.clicks // 8 * 2):  # a Start, then its Stop
                if turn % 2 == 0:
                    mine = client.predict(settings(folders), api_name="/start_training")
                    started.append(mine)
                    continue
                try:
                    client.predict(mine, turn % 4 == 1, api_name="/stop_training")
                except Exception as error:
                    refused.append(str(error))

        watcher = threading.Thread(target=count, daemon=True)
        watcher.start()
        began = time.monotonic()
        with ThreadPoolExecutor(4) as hands:
            list(hands.map(hand, range(4)))
        spent = time.monotonic() - began
        ended = wait_for(lambda: all(r.status().state in FINAL for r in list_runs(folders.runs)))
        ends.set()
        watcher.join()
    tell(f"{options.clicks:,} clicks on Start and Stop: seconds, till all had ended",
         f"{spent:.0f}, {ended:.1f}")
    tell("runs started, folders, refused, most at work at one moment",
         f"{len(set(started))}, {len(list_runs(folders.runs))}, {len(refused)}, {most[0]}")
    tell("processes left when the server had ended", none_left(folders))


def restarts(folders: Folders, options: argparse.Namespace) -> None:
    """The server is killed while a run is at work and another waits, again and again."""
    usable, pids, steps = [], set(), []
    for turn in range(options.restarts):
        began = time.monotonic()
        with server(folders) as (child, url):
            client = Client(url, verbose=False)
            usable.append(time.monotonic() - began)
            if turn == 0:
                ids = [client.predict(settings(folders), api_name="/start_training")
                       for _ in range(2)]
                wait_for(lambda: any(len(r.metrics()) > 2 for r in list_runs(folders.runs)))
            first, second = (Run(folders.runs / each) for each in ids)
            pids.add(first.status().pid)
            steps.append(first.status().step)
            assert first.status().state == "running" and second.status().state == "queued"
            if turn < options.restarts - 1:
                child.kill()
                child.wait()
                continue
            for run in (second, first):
                client.predict(run.id, True, api_name="/stop_training")
            wait_for(lambda: all(r.status().state == "stopped" for r in list_runs(folders.runs)))
    tell(f"{options.restarts} servers killed at a run: seconds to usable, median, 95 %, longest",
         spread(usable))
    tell("trainers that worked at the run; its step at the first kill and the last",
         f"{len(pids)}; {steps[0]:,}, {steps[-1]:,}")
    tell("processes left when the last server had ended", none_left(folders))


PARTS = {"clients": clients, "clicks": clicks, "restarts": restarts, "runs": many_runs,
         "watch": watch}

if __name__ == "__main__":
    main()

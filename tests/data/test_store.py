"""What was read once is kept whole, once, and within a bound."""

import os
import threading

import pytest

from core.data.reading import store
from core.data.reading.store import kept, key_of


def fill(count: int):
    def make(folder):
        (folder / "a.bin").write_bytes(b"x" * count)
    return make


def test_a_thing_is_made_once(folders):
    made = []
    for _ in range(2):
        folder = kept(folders, "rows", "a", lambda into: made.append(1) or fill(5)(into))
    assert (made, (folder / "a.bin").read_bytes()) == ([1], b"xxxxx")


def test_two_that_want_it_at_once_make_it_once(folders):
    made, ready = [], threading.Event()

    def make(into):
        made.append(1)
        ready.wait(0.3)
        fill(5)(into)

    workers = [threading.Thread(target=kept, args=(folders, "rows", "a", make)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert made == [1]


def test_what_fails_half_way_leaves_nothing(folders):
    def make(into):
        fill(5)(into)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        kept(folders, "rows", "a", make)
    assert not list((folders.home / "cache" / "rows").glob("**/*.bin"))
    assert kept(folders, "rows", "a", fill(3)).is_dir()


def test_what_was_used_longest_ago_goes_first(folders, monkeypatch):
    monkeypatch.setattr(store, "LARGEST_BYTES", 250)
    for age, key in ((30, "old"), (20, "used"), (10, "new")):
        folder = kept(folders, "tokens" if age == 20 else "rows", key, fill(100))
        os.utime(folder, (1_000_000_000 - age, 1_000_000_000 - age))
    kept(folders, "tokens", "used", fill(100))
    kept(folders, "rows", "last", fill(100))
    there = {path.name for room in ("rows", "tokens")
             for path in (folders.home / "cache" / room).glob("[!.]*")}
    assert there == {"used", "last"}


def test_a_thing_that_is_larger_than_the_bound_is_kept_for_its_user(folders, monkeypatch):
    monkeypatch.setattr(store, "LARGEST_BYTES", 10)
    assert (kept(folders, "rows", "a", fill(100)) / "a.bin").is_file()


def test_the_same_parts_have_the_same_key():
    assert key_of("a", 1, ["x"]) == key_of("a", 1, ["x"]) != key_of("a", 1, ["y"])

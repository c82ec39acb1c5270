"""Who comes from elsewhere gets nothing without the password, and can't guess it."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from gradio_client import Client
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from core import password
from core.errors import UserError
from tests.e2e.conftest import App
from tests.security.conftest import PASSWORD, started_alone
from ui.gate import FORGET_SECONDS, FREE_TRIES, LONGEST_WAIT, Gate, Waits
from ui.launch import Listening

VISIT = {"Accept": "text/html"}
READ = ["/config", "/info", "/gradio_api/info", "/gradio_api/file=/etc/passwd", "/theme.css",
        "/gradio_api/queue/data?session_hash=a", "/icons/../config",
        "/gradio_api/startup-events/..",
        "/v1/../config", "/v1/%2e%2e/config", "//config", "/login/../config", "/login/"]
WRITE = ["/gradio_api/call/list_runs", "/gradio_api/component_server", "/gradio_api/upload",
         "/gradio_api/queue/join", "/gradio_api/run/predict", "/run/list_runs"]


@pytest.mark.parametrize("flags", [["--host", "0.0.0.0"], ["--host", "::"], ["--host", "10.0.0.1"],
                                   ["--name", "tunnel.test"]], ids=str)
def test_without_a_password_it_listens_to_this_machine_only(folders, flags):
    host = flags[1] if flags[0] == "--host" else "127.0.0.1"
    names = (flags[1],) if flags[0] == "--name" else ()
    with pytest.raises(UserError, match="has no password"):
        Listening(7860, host, names).middleware(folders)


def test_the_program_itself_refuses_too(tmp_path):
    done = started_alone("--data-folder", str(tmp_path / "home"), "--no-browser", "--host",
                         "0.0.0.0")
    assert done.returncode == 1 and "app.py password" in done.stderr


def test_the_password_is_piped_in_and_kept_as_a_hash_for_its_owner_only(tmp_path):
    done = started_alone("--data-folder", str(tmp_path), "password", given=f"{PASSWORD}\n")
    kept = tmp_path / "password.json"
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in kept.read_text() + done.stdout and kept.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("weak", ["", "short", "aaaaaaaaaaaaaaaa", "x" * 2000])
def test_a_password_that_is_guessed_easily_is_not_kept(folders, weak):
    with pytest.raises(UserError):
        password.keep(weak, folders)
    assert not password.is_set(folders)


@pytest.mark.parametrize("path", ["/", "/?view=api", *READ])
def test_nothing_is_read_without_the_password(locked: App, path):
    for headers in ({}, VISIT, {"Cookie": f"tunedesk-{locked.url.rpartition(':')[2]}=guess"}):
        answer = httpx.get(locked.url + path, headers=headers)
        assert answer.status_code in (401, 404), answer.text[:200]
        assert "gradio" not in answer.text.lower()


@pytest.mark.parametrize("path", WRITE)
def test_nothing_is_done_without_the_password(locked: App, path):
    assert httpx.post(locked.url + path, json={"data": []}).status_code == 401


def test_the_endpoint_of_other_programs_still_wants_its_own_key(locked: App):
    answer = httpx.get(f"{locked.url}/v1/models", headers={"Authorization": "Bearer td-guess"})
    assert answer.status_code == 403


def test_the_password_opens_page_and_endpoints(locked: App, inside: httpx.Client):
    assert inside.get("/").status_code == inside.get("/config").status_code == 200
    assert inside.post("/gradio_api/call/list_runs", json={"data": []}).status_code == 200
    programs = Client(locked.url, auth=("anybody", PASSWORD), verbose=False)
    assert programs.predict(api_name="/list_runs") == []


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(locked: App):
    answer = httpx.post(f"{locked.url}/login", data={"password": PASSWORD}, headers=VISIT)
    cookie = answer.headers["set-cookie"].lower()
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "httponly" in cookie and "samesite=strict" in cookie and PASSWORD not in cookie


def test_its_name_and_addresses_are_let_in_and_a_rebound_name_is_not(locked: App, app: App):
    hosts = {"tunnel.test": 401, "TUNNEL.test:443": 401, "192.168.7.7:7860": 401, "[::1]:1": 401,
             socket.gethostname(): 401, "evil.test": 421, "tunnel.test.evil.test": 421,
             "tunnel.test@evil.test": 421, "": 421}
    found = {host: httpx.get(locked.url, headers={"Host": host}).status_code for host in hosts}
    assert found == hosts
    assert httpx.get(app.url, headers={"Host": "192.168.7.7"}).status_code == 421


def test_a_server_at_all_addresses_serves_nobody_without_the_password(everywhere: App):
    assert httpx.get(everywhere.url, headers=VISIT).status_code == 401
    assert httpx.get(everywhere.url, headers={"Host": "evil.test"}).status_code == 421
    assert httpx.get(everywhere.url, headers={"Host": "192.168.7.7:7880"}).status_code == 401
    with httpx.Client(base_url=everywhere.url, timeout=60) as client:
        entry = client.post("/login", data={"password": PASSWORD})
        assert entry.status_code == 200 and client.get("/config").status_code == 200
        rebound = client.get("/config", headers={"Host": "evil.test"})
        forged = client.post("/gradio_api/call/list_runs", json={"data": []},
                             headers={"Origin": "http://evil.test"})
        assert (rebound.status_code, forged.status_code) == (421, 403)
    programs = Client(everywhere.url, auth=("anybody", PASSWORD), verbose=False)
    assert programs.predict(api_name="/list_runs") == []


def test_the_address_that_is_told_is_one_that_a_browser_can_go_to():
    """0.0.0.0 is where it listens, and no place to go to."""
    told = {host: Listening(7860, host).own_address(f"http://{host}:7861/")
            for host in ("0.0.0.0", "127.0.0.1", "desk.example")}
    assert told == {"0.0.0.0": "http://127.0.0.1:7861/", "127.0.0.1": "http://127.0.0.1:7861/",
                    "desk.example": "http://desk.example:7861/"}
    assert Listening(7860, "::").own_address("http://[::]:7862/") == "http://[::1]:7862/"


@pytest.mark.parametrize("origin", ["http://evil.test", "null"])
def test_another_site_cannot_guess_through_the_persons_browser(locked: App, origin):
    answer = httpx.post(f"{locked.url}/login", data={"password": PASSWORD},
                        headers={"Origin": origin})
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


def test_a_crowd_under_false_addresses_waits_as_the_one_it_is(locked: App):
    def guess(number: int) -> httpx.Response:
        return httpx.post(f"{locked.url}/login", data={"password": f"guess {number}"}, timeout=60,
                          headers={"X-Forwarded-For": f"10.1.1.{number}"})

    with ThreadPoolExecutor(16) as crowd:
        answers = list(crowd.map(guess, range(60)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused and all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert len(refused) + sum(answer.status_code == 401 for answer in answers) == 60


def test_guesses_side_by_side_count_and_then_the_right_one_waits_too(folders, monkeypatch):
    password.keep(PASSWORD, folders)
    looked_at = []
    admits = password.admits
    monkeypatch.setattr(password, "admits", lambda given, folders: looked_at.append(given)
                        or admits(given, folders))
    app = Starlette(middleware=[Middleware(Gate, folders=folders, waits=Waits(lambda: 0.0))])

    async def crowd() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app),
                                     base_url="http://127.0.0.1") as client:
            async def guess(given: str) -> int:
                return (await client.post("/login", data={"password": given})).status_code

            return [*await asyncio.gather(*(guess(f"guess {number}") for number in range(20))),
                    await guess(PASSWORD)]

    assert sorted(asyncio.run(crowd())) == [401] * FREE_TRIES + [429] * (21 - FREE_TRIES)
    assert len(looked_at) == FREE_TRIES  # nothing was computed for the rest


def test_waits_grow_to_a_quarter_of_an_hour_and_are_forgotten():
    now = 0.0
    waits = Waits(lambda: now)
    grown = []
    for _ in range(20):
        waits.tried("10.0.0.1")
        grown.append(waits.seconds("10.0.0.1"))
    assert grown[:6] == [0, 0, 1, 2, 4, 8] and grown[-1] == LONGEST_WAIT
    assert waits.seconds("10.0.0.2") == 0
    now = FORGET_SECONDS + 1
    waits.tried("10.0.0.1")
    assert waits.seconds("10.0.0.1") == 0


def test_a_subscribers_many_addresses_wait_as_one():
    waits = Waits(lambda: 0.0)
    for last in range(5):
        waits.tried(f"2001:db8:1:1::{last:x}")
    assert waits.seconds("2001:db8:1:1:ffff::9") > 0 == waits.seconds("2001:db8:1:2::9")


def test_a_web_socket_is_closed_and_a_huge_form_is_no_password(folders):
    password.keep(PASSWORD, folders)
    inner = Starlette(routes=[WebSocketRoute("/ws", lambda socket: socket.accept()),
                              Route("/", lambda request: PlainTextResponse("secret"))],
                      middleware=[Middleware(Gate, folders=folders)])
    said = []

    async def send(message):
        said.append(message["type"])

    asyncio.run(inner({"type": "websocket", "path": "/ws", "headers": []}, None, send))
    assert said == ["websocket.close"]

    async def flood() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(inner),
                                     base_url="http://127.0.0.1") as client:
            return await client.post("/login", data={"x": "y" * 10_000, "password": PASSWORD})

    assert asyncio.run(flood()).status_code == 401

"""What other web sites may not do through the person's browser."""

import httpx
import pytest
from playwright.sync_api import Browser

from tests.e2e.conftest import App

CALL = "/gradio_api/call/list_runs"
SERVER_FUNCTION = "/gradio_api/component_server"


@pytest.mark.parametrize("path", [CALL, SERVER_FUNCTION, "/gradio_api/upload"])
@pytest.mark.parametrize("origin", ["http://evil.test", "http://127.0.0.1:1", "null"])
def test_a_post_from_another_origin_is_refused(app: App, path, origin):
    answer = httpx.post(app.url + path, json={"data": []}, headers={"Origin": origin})
    assert answer.status_code == 403


def test_a_foreign_host_name_is_refused(app: App):
    assert httpx.get(app.url, headers={"Host": "evil.test"}).status_code == 421
    assert httpx.get(app.url + "/config", headers={"Host": "evil.test:80"}).status_code == 421


def test_a_cross_site_read_is_refused_and_a_visit_is_not(app: App):
    cross = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert httpx.get(app.url + "/config", headers=cross).status_code == 403
    assert httpx.get(app.url + "/", headers=visit).status_code == 200


def test_no_other_site_shows_the_page_in_a_frame(app: App, browser: Browser, tmp_path):
    """There the person would click on what they don't see."""
    for path in ("/", "/config", "/theme.css"):
        headers = httpx.get(app.url + path).headers
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "SAMEORIGIN"
    site = tmp_path / "evil.html"
    site.write_text(f"<iframe src='{app.url}' onload='window.loaded = true'></iframe>")
    page = browser.new_page()
    page.goto(site.as_uri())
    page.wait_for_function("window.loaded")
    assert "tabs" not in page.frames[-1].content()
    page.close()


def test_programs_and_the_page_itself_pass(app: App):
    assert httpx.post(app.url + CALL, json={"data": []}).status_code == 200
    same = {"Origin": app.url, "Sec-Fetch-Site": "same-origin"}
    assert httpx.post(app.url + CALL, json={"data": []}, headers=same).status_code == 200


@pytest.mark.parametrize("path", ["/monitoring/summary", "/gradio_api/runs"])
def test_nothing_is_told_about_who_does_what(app: App, path):
    assert httpx.get(app.url + path).status_code != 200


def test_files_outside_are_not_served(app: App):
    for path in ("/etc/passwd", str(app.home / "draft.json"), "../../etc/passwd"):
        assert httpx.get(f"{app.url}/gradio_api/file={path}").status_code in (403, 404)

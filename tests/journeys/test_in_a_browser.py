import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.journeys.browsers import QUIETLY, follow, sign_up, start_dev
from tests.journeys.processes import Installation
from tests.mail.servers import free_port

pytestmark = pytest.mark.anyio


@pytest.fixture
async def page(chromium: str) -> AsyncIterator[Page]:
    """A browser that runs no JavaScript."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIETLY)
        context = await browser.new_context(java_script_enabled=False)
        context.set_default_timeout(10_000)
        yield await context.new_page()
        await browser.close()


@pytest.fixture
async def scripted(chromium: str) -> AsyncIterator[Page]:
    """A browser as most people have it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIETLY)
        page = await browser.new_page()
        page.set_default_timeout(30_000)
        yield page
        await browser.close()


async def test_a_stranger_tries_everything_out_in_a_browser(
    installation: Installation, page: Page
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    key = start_dev(installation, port)

    await sign_up(page, url, "ann@example.org")
    await expect(page).to_have_url(f"{url}/newsletters/insights/thank-you")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Check your inbox")

    await follow(page, url, "confirm", mails=1)
    await page.get_by_role("button", name="Yes, subscribe me").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("You are subscribed")
    assert _proof(url, key) == ["requested", "confirmed"]

    await follow(page, url, "unsubscribe", mails=2)
    await page.get_by_role("button", name="Unsubscribe").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("You are unsubscribed")

    assert installation.stop() == [0]
    installation.started.clear()
    assert start_dev(installation, port) == key
    assert _proof(url, key) == ["requested", "confirmed", "withdrawn"]


async def test_a_browser_does_the_work_that_keeps_robots_out(
    installation: Installation, scripted: Page, page: Page
) -> None:
    installation.environment["NEWSLETTER_PROOF_OF_WORK"] = "1"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    start_dev(installation, port)
    faults: list[str] = []
    scripted.on("pageerror", lambda error: faults.append(str(error)))
    scripted.on("console", lambda message: faults.append(message.text))
    for email in ("ann@example.org", "bob@example.org"):
        await sign_up(scripted, url, email)
        await expect(scripted).to_have_url(f"{url}/newsletters/insights/thank-you", timeout=30_000)
    assert faults == [], "the policy of the page lets its script do its work"
    await sign_up(page, url, "robot@example.org")
    await expect(page.get_by_text("The check that keeps robots out")).to_be_visible()


def _proof(url: str, key: str) -> list[str]:
    headers = {"Authorization": f"Bearer {key}"}
    found = httpx.get(f"{url}/v1/subscribers/ann@example.org/consent", headers=headers).json()
    assert found["verified"] is True
    return [event["kind"] for event in found["events"]]


async def test_what_was_forgotten_is_asked_for_and_the_thanks_may_be_said_elsewhere(
    installation: Installation, page: Page
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    key = start_dev(installation, port)
    await page.goto(f"{url}/newsletters/insights")
    await page.get_by_label("E-mail address").fill("bob@example.org")
    await page.get_by_role("button", name="Sign up").click()
    await expect(page.locator("#consent-fault")).to_contain_text("Tick the box to agree")
    await expect(page.get_by_label("E-mail address")).to_have_value("bob@example.org")
    await expect(page.get_by_role("checkbox")).not_to_be_checked()

    with _elsewhere() as thanks:
        _say_thanks_at(thanks, url, key)
        await sign_up(page, url, "bob@example.org")
        await expect(page).to_have_url(thanks)
        await expect(page.get_by_role("heading")).to_have_text("Thanks from elsewhere")
    await follow(page, url, "confirm", mails=1)


def _say_thanks_at(thanks: str, url: str, key: str) -> None:
    path, headers = f"{url}/v1/newsletters/insights", {"Authorization": f"Bearer {key}"}
    assert httpx.patch(path, json={"thank_you_url": thanks}, headers=headers).status_code == 200


class _Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><h1>Thanks from elsewhere</h1>")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _elsewhere() -> Iterator[str]:
    """Somebody else's website; the address of its thank-you page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/thanks?from=newsletter"
        server.shutdown()
        thread.join()

"""Every page for everybody (WCAG 2.2 AA): axe finds nothing, the keyboard is enough, all fits."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import Page, async_playwright, expect

from tests.journeys.browsers import QUIETLY, link_in, start_dev
from tests.journeys.processes import Installation
from tests.mail.servers import free_port

pytestmark = pytest.mark.anyio
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@dataclass
class Look:
    """One way to look at pages, and what is wrong with those seen so far."""

    page: Page
    url: str
    width: int
    faults: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    async def at(self, what: str) -> None:
        """Let axe look at the page that is shown; nothing may be wider than the screen."""
        self.seen.append(what)
        await self.page.wait_for_load_state()
        options = {"runOnly": {"type": "tag", "values": RULES}}
        found = await Axe().run(self.page, options=options)
        for violation in found.response["violations"]:
            places = [node["target"] for node in violation["nodes"]]
            self.faults.append(f"{what}: {violation['id']} at {places}")
        wide = await self.page.evaluate("document.scrollingElement.scrollWidth")
        if wide > self.width:
            self.faults.append(f"{what}: {wide} px wide")


@asynccontextmanager
async def looking(
    chromium: str, url: str, width: int, locale: str, scheme: str
) -> AsyncIterator[Look]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIETLY)
        context = await browser.new_context(
            viewport={"width": width, "height": 700},
            locale=locale,
            color_scheme="dark" if scheme == "dark" else "light",
        )
        context.set_default_timeout(10_000)
        yield Look(await context.new_page(), url, width)
        await browser.close()


async def walk(look: Look, mails: int, email: str) -> None:
    """Go through everything that a subscriber may ever see, from the home page to being erased."""
    page, url = look.page, look.url
    press: Callable[[int], Awaitable[None]] = lambda n: page.locator("main button").nth(n).click()  # noqa: E731
    await page.goto(url)
    await look.at("home")
    await page.goto(f"{url}/privacy")
    await look.at("privacy")
    await page.goto(f"{url}/nowhere")
    await look.at("not found")
    await page.goto(f"{url}/newsletters/insights")
    await look.at("form")
    await page.locator("#email").fill("nobody")
    await press(0)
    await look.at("form with faults")
    await page.locator("#email").fill(email)
    await page.locator("#consent").check()
    await press(0)
    await look.at("thanks")
    await page.goto(await link_in(page, url, "confirm", mails + 1))
    await look.at("confirm")
    await press(0)
    await look.at("confirmed")
    await page.goto(await link_in(page, url, "unsubscribe", mails + 2))
    await look.at("unsubscribe")
    await page.locator("p.aside a").click()
    await look.at("preferences")
    await press(0)
    await look.at("preferences saved")
    await page.goto(await link_in(page, url, "unsubscribe", mails + 2))
    await press(0)
    await look.at("unsubscribed")
    await page.locator("input[value=too_many]").check()
    await press(1)
    await look.at("explained")
    await page.goto(await link_in(page, url, "unsubscribe", mails + 2))
    await press(0)
    await press(0)
    await look.at("undone")
    await page.goto(f"{url}/preferences")
    await look.at("ask for the link")
    await press(0)
    await look.at("ask for the link with a fault")
    await page.locator("#email").fill(email)
    await press(0)
    await look.at("link sent")
    await page.goto(await link_in(page, url, "preferences", mails + 3))
    await look.at("own preferences")
    await page.locator("#sure").check()
    await press(1)
    await look.at("erased")


@pytest.mark.parametrize(
    ("width", "locale", "scheme"), [(1280, "en", "light"), (320, "ar", "dark"), (640, "de", "dark")]
)
async def test_axe_finds_nothing_and_everything_fits(
    chromium: str, installation: Installation, width: int, locale: str, scheme: str
) -> None:
    """640 px are a screen of 1280 at 200 % (WCAG 1.4.4), 320 the narrowest (1.4.10)."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    start_dev(installation, port)
    async with looking(chromium, url, width, locale, scheme) as look:
        await walk(look, 0, f"{locale}@example.org")
    assert look.faults == []
    assert len(look.seen) == len(set(look.seen)) == 19


async def focused(page: Page) -> str:
    script = "(e => e.id || e.getAttribute('href') || e.type || e.tagName)(document.activeElement)"
    return str(await page.evaluate(script))


async def tab(page: Page, count: int) -> list[str]:
    """Press the tabulator so often; return what had the focus, which must be visible each time."""
    found = []
    for _ in range(count):
        await page.keyboard.press("Tab")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert await page.evaluate(outline) != "none", await focused(page)
        found.append(await focused(page))
    return found


async def test_a_keyboard_is_enough(chromium: str, installation: Installation) -> None:
    url = f"http://127.0.0.1:{(port := free_port())}"
    start_dev(installation, port)
    async with looking(chromium, url, 1280, "en", "light") as look:
        page = look.page
        await page.goto(f"{url}/newsletters/insights")
        assert await tab(page, 2) == ["/", "email"]
        await page.keyboard.type("ann@example.org")
        assert (await tab(page, 2)) == ["name", "consent"]
        await page.keyboard.press("Space")
        assert (await tab(page, 2))[-1] == "submit"
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Check your inbox")
        await page.goto(await link_in(page, url, "confirm", 1))
        assert (await tab(page, 2))[-1] == "submit"
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("You are subscribed")
        await page.goto(await link_in(page, url, "unsubscribe", 2))
        await tab(page, 2)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("You are unsubscribed")
        assert (await tab(page, 3))[1:] == ["submit", "too_many"]
        await page.keyboard.press("ArrowDown")
        assert await page.locator("#not_for_me").is_checked()
        assert (await tab(page, 1)) == ["submit"]
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Thank you for your answer")

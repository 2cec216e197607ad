"""The form on other people's pages, in a real browser, from another origin."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from playwright.async_api import BrowserContext, Locator, Page, Route, async_playwright, expect

from tests.journeys.browsers import QUIETLY
from tests.journeys.processes import installed, is_ready, wait_until
from tests.journeys.websites import Website, website
from tests.mail.servers import free_port

pytestmark = pytest.mark.anyio

STORED = "localStorage.getItem('newsletter-insights')"
BLOCKED = """Object.defineProperty(window, "localStorage", {
  get() { throw new DOMException("Storage is blocked.", "SecurityError"); },
});"""
RESETS = """<style>
  html { font-size: 5px; color-scheme: light; }
  body * { all: unset !important; display: none !important; color: red !important; }
  body > h2 { display: block !important; color: green !important; }
  dialog, form, input, button, newsletter-form { visibility: hidden; opacity: 0; width: 3px; }
</style>"""


@dataclass(frozen=True)
class Dev:
    """What `newsletter dev` printed, and a website that the sample newsletter lists."""

    url: str
    blog: str
    key: str
    site: Website

    def tag(self, **options: object) -> str:
        """Return the script tag: `tag(mode="popup", delay=0)`."""
        data = "".join(f' data-{name}="{value}"' for name, value in options.items())
        return f'<script src="{self.url}/newsletters/insights/form.js"{data} async></script>'

    def ask(self, method: str, path: str, **how: Any) -> Any:  # noqa: ANN401 - JSON
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = httpx.request(method, self.url + path, headers=headers, **how)
        assert answer.is_success, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with installed(tmp_path_factory.mktemp("dev")) as house, website() as site:
        port = free_port()
        house.start("dev", "--port", str(port))
        wait_until(lambda: is_ready(f"http://127.0.0.1:{port}"))
        printed = dict(re.findall(r"^(.+?)  +(\S+)$", house.log(0).read_text(), re.MULTILINE))
        url, blog = f"http://127.0.0.1:{port}", printed["Sample blog"].rstrip("/")
        made = Dev(url, blog, printed["Admin key"], site)
        path = "/v1/newsletters/insights"
        origins = [*made.ask("GET", path)["allowed_origins"], site.origin]
        made.ask("PATCH", path, json={"allowed_origins": origins})
        yield made


@pytest.fixture
async def context(chromium: str, request: pytest.FixtureRequest) -> AsyncIterator[BrowserContext]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIETLY)
        runs_scripts = getattr(request, "param", True)
        opened = await browser.new_context(java_script_enabled=runs_scripts)
        opened.set_default_timeout(15_000)
        yield opened
        await browser.close()


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    return await context.new_page()


async def fill(place: Page | Locator, email: str) -> None:
    await place.get_by_label("E-mail address").fill(email)
    await expect(place.get_by_role("checkbox")).not_to_be_checked()
    await place.get_by_role("checkbox").check()
    await place.get_by_role("button", name="Sign up").click()


async def confirm(dev: Dev, page: Page, email: str) -> dict[str, Any]:
    """Follow the link in the mail to this address; return what is on record of the request."""
    await page.goto(f"{dev.url}/dev/mail")
    row = page.locator("li.row", has_text=email)
    while await row.count() == 0:
        await page.reload()
    await row.locator("a").click()
    link = page.locator("ul.links a[href*='/confirm/']")
    await page.goto(str(await link.get_attribute("href")))
    await page.get_by_role("button", name="Yes, subscribe me").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("You are subscribed")
    found = dev.ask("GET", f"/v1/subscribers?email={email}&status=confirmed")["items"]
    assert [item["email"] for item in found] == [email]
    [requested, _] = dev.ask("GET", f"/v1/subscribers/{email}/consent")["events"]
    return dict(requested)


async def test_a_reader_of_the_blog_signs_up_at_the_end_of_the_page(dev: Dev, page: Page) -> None:
    await page.goto(f"{dev.blog}/?from=a-friend#end")
    form = page.locator("newsletter-form")
    await expect(form.get_by_text("One thoughtful letter a week")).to_be_visible()
    await expect(form.get_by_text("No spam; unsubscribe easily at any time.")).to_be_visible()
    policy = await form.get_by_role("link", name="Read the privacy policy").get_attribute("href")
    assert policy == f"{dev.url}/privacy"
    await fill(page, "inline@example.org")
    await expect(page.get_by_role("heading", name="Check your inbox")).to_be_focused()
    await expect(form.get_by_role("status")).to_contain_text("a mail is on its way to it")
    assert await page.context.cookies() == []

    event = await confirm(dev, page, "inline@example.org")
    shown = dev.ask("GET", "/v1/newsletters/insights/form")
    assert event["page_url"] == f"{dev.blog}/"
    assert event["policy_version"] == shown["policy_version"]
    assert event["wording"] == shown["wording"]
    assert event["locale"] == "en"


async def test_or_in_the_pop_up_which_does_not_come_back(dev: Dev, page: Page) -> None:
    await page.goto(f"{dev.blog}/pop-up")
    dialog = page.get_by_role("dialog", name="Sign up for Insights")
    await fill(dialog, "popup@example.org")
    await expect(page.get_by_role("dialog", name="Check your inbox")).to_be_visible()
    await page.get_by_role("button", name="Close").click()
    await expect(page.locator("newsletter-form")).to_have_count(0)
    assert await page.evaluate(STORED) == "used"
    await page.reload()
    await page.wait_for_timeout(4_000)
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await confirm(dev, page, "popup@example.org")


@pytest.mark.parametrize("context", [False], indirect=True)
async def test_without_scripts_there_is_a_plain_form(dev: Dev, page: Page) -> None:
    await page.goto(dev.blog)
    await fill(page, "plain@example.org")
    await expect(page).to_have_url(f"{dev.url}/newsletters/insights/thank-you")
    await confirm(dev, page, "plain@example.org")


async def test_the_pop_up_is_a_dialog_for_the_keyboard_and_appears_once(
    dev: Dev, page: Page
) -> None:
    html = f"<button autofocus>Before</button>{dev.tag(mode='popup', delay=0, title='Hello')}"
    await page.goto(dev.site.show(html))
    title = page.get_by_role("dialog", name="Hello").get_by_role("heading")
    await expect(title).to_be_focused()
    stops = [
        page.get_by_role("button", name="Close"),
        page.get_by_label("E-mail address"),
        page.get_by_role("checkbox"),
        page.get_by_role("link", name="Read the privacy policy"),
        page.get_by_role("button", name="Sign up"),
    ]
    for stop in [*stops, stops[0]]:
        await page.keyboard.press("Tab")
        await expect(stop).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await expect(stops[-1]).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.get_by_role("button", name="Before")).to_be_focused()
    assert await page.evaluate(STORED) == "closed"
    await page.reload()
    await page.wait_for_timeout(1_000)
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_where_storage_is_blocked_the_tab_remembers(dev: Dev, page: Page) -> None:
    await page.add_init_script(BLOCKED)
    await page.goto(dev.site.show(dev.tag(mode="popup", delay=0)))
    await page.get_by_role("button", name="Close").click()
    await page.reload()
    await page.wait_for_timeout(1_000)
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_the_strictest_policy_of_a_page_that_lets_us_in_is_enough(
    dev: Dev, page: Page
) -> None:
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text))
    csp = (
        f"default-src 'none'; script-src {dev.url}; connect-src {dev.url}; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )
    await page.goto(dev.site.show(dev.tag(), Content_Security_Policy=csp))
    radius = "element => getComputedStyle(element).borderTopLeftRadius"
    assert await page.locator(".card").evaluate(radius) == "12px"
    await fill(page, "strict@example.org")
    await expect(page.get_by_role("heading", name="Check your inbox")).to_be_visible()
    assert [said for said in complaints if "favicon" not in said] == []


async def test_styles_leak_neither_in_nor_out(dev: Dev, page: Page) -> None:
    await page.goto(dev.site.show(f"{RESETS}<h2>Theirs</h2>{dev.tag()}"))
    await expect(page.get_by_label("E-mail address")).to_be_visible()
    look = "element => [getComputedStyle(element).color, getComputedStyle(element).fontSize]"
    ours = await page.get_by_role("heading", name="Sign up").evaluate(look)
    assert ours == ["rgb(27, 33, 48)", "22px"]
    theirs = await page.get_by_role("heading", name="Theirs").evaluate(look)
    assert theirs[0] == "rgb(0, 128, 0)"


async def test_a_fault_belongs_to_its_field_and_a_lost_request_says_what_to_do(
    dev: Dev, page: Page
) -> None:
    await page.goto(dev.site.show(dev.tag()))
    await fill(page, "nobody")
    email = page.get_by_label("E-mail address")
    await expect(email).to_be_focused()
    await expect(email).to_have_attribute("aria-invalid", "true")
    await expect(email).to_have_accessible_description(re.compile("Enter a valid e-mail address"))
    await page.route("**/v1/subscriptions", lambda route: route.abort())
    await email.fill("lost@example.org")
    await page.get_by_role("button", name="Sign up").click()
    await expect(page.get_by_role("alert")).to_contain_text("That did not get through")
    await expect(email).to_have_value("lost@example.org")


async def test_an_outdated_policy_is_shown_anew_and_agreed_to_again(dev: Dev, page: Page) -> None:
    current = dev.ask("GET", "/v1/newsletters/insights/form")["policy_version"]

    async def outdated(route: Route) -> None:
        answer = await route.fetch()
        text = (await answer.text()).replace(f'"{current}"', '"long-gone"')
        await route.fulfill(response=answer, body=text)

    await page.route("**/form.js", outdated)
    await page.goto(dev.site.show(dev.tag()))
    await fill(page, "late@example.org")
    await expect(page.get_by_role("alert")).to_contain_text("has changed in the meantime")
    await fill(page, "late@example.org")
    await expect(page.get_by_role("heading", name="Check your inbox")).to_be_visible()

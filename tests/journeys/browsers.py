"""What journeys in a browser share: how it is started, and the way from a sign-up to its mail."""

import re

from playwright.async_api import Page, expect

from tests.journeys.processes import Installation, is_ready, wait_until

QUIETLY = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]


def start_dev(house: Installation, port: int) -> str:
    """Start `newsletter dev`; return the key that it printed."""
    number = len(house.started)
    house.start("dev", "--port", str(port))
    wait_until(lambda: is_ready(f"http://127.0.0.1:{port}"))
    [key] = re.findall(r"Admin key +(nl_\S+)", house.log(number).read_text())
    return str(key)


async def sign_up(page: Page, url: str, email: str) -> None:
    await page.goto(f"{url}/newsletters/insights")
    await expect(page.get_by_text("No spam; unsubscribe easily at any time.")).to_be_visible()
    await page.get_by_label("E-mail address").fill(email)
    consent = page.get_by_role("checkbox")
    await expect(consent).not_to_be_checked()
    await consent.check()
    await page.get_by_role("button", name="Sign up").click()


async def link_in(page: Page, url: str, link: str, mails: int) -> str:
    """Wait until there are so many mails; return the address of a link in the newest."""
    await page.goto(f"{url}/dev/mail")
    while await page.locator("a.cover").count() < mails:
        await page.reload()
    await page.locator("a.cover").first.click()
    address = await page.locator(f"ul.links a[href*='/{link}/']").first.get_attribute("href")
    assert address is not None
    return address


async def follow(page: Page, url: str, link: str, mails: int) -> None:
    """Open the newest mail of the mailbox page once there are so many, and follow a link in it."""
    address = await link_in(page, url, link, mails)
    await page.locator(f"ul.links a[href='{address}']").click()

import asyncio
import re
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from urllib.parse import urlsplit

import httpx
import pytest

from app.db.engine import Engine
from app.db.wakeups import open_wakeups
from app.mail.transport import open_transport
from app.services.house import House
from app.worker.deliver import Delivery
from tests.conftest import BASE_URL, Clock, SignUp
from tests.journeys.processes import PostOffice

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

HEADERS = [
    *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "List-Id"),
    *("List-Unsubscribe", "List-Unsubscribe-Post", "MIME-Version", "Content-Type"),
]
ONE_CLICK = {"List-Unsubscribe": "One-Click"}

SendAll = Callable[[], Awaitable[list[EmailMessage]]]


@pytest.fixture
def send_all(engine: Engine, database: str, house: House, office: PostOffice) -> SendAll:
    """Run a worker until nothing is due; return all that the server has taken."""

    async def send() -> list[EmailMessage]:
        transport = open_transport(office.url, 2)
        async with open_wakeups(database, None) as wakeups:
            delivery = Delivery(engine, house, transport, "smtp-worker")
            await delivery.run(wakeups, asyncio.Event(), until_idle=True)
        await transport.close()
        return office.mails

    return send


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def link_in(mail: EmailMessage, page: str, kind: str = "plain") -> str:
    [link] = set(re.findall(rf"{BASE_URL}(/{page}/[\w.-]+)", text_of(mail, kind)))
    return str(link)


def way_out(mail: EmailMessage) -> str:
    """Return what a mail program posts to: the URL of the header."""
    return urlsplit(str(mail["List-Unsubscribe"]).strip("<>")).path


async def test_the_mail_as_the_server_received_it(
    sign_up: SignUp, send_all: SendAll, office: PostOffice
) -> None:
    await sign_up("Ann@example.org", name="Ann")
    [mail] = await send_all()
    [(recipient, raw)] = office.taken
    head, _, body = raw.partition(b"\r\n\r\n")

    assert recipient == "Ann@example.org"
    assert (mail["To"], mail["From"]) == ("Ann@example.org", "Insights <in@example.org>")
    assert mail.keys() == HEADERS
    assert not mail.defects
    assert re.search(
        rb"\r\nList-Unsubscribe: <http://localhost:8000/unsubscribe/[\w.-]+>\r\n[^ \t]", head
    )
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in head
    assert b"\r\nList-Id: <insights.localhost>\r\n" in head
    assert b"\r\nAuto-Submitted: auto-generated\r\n" in head
    assert mail["Message-ID"].endswith("@localhost>")
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    assert raw.isascii()
    assert b"=?" not in head
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    assert link_in(mail, "confirm") == link_in(mail, "confirm", "html")
    assert body


async def test_somebody_joins_proves_it_leaves_comes_back_and_leaves_for_good(
    client: httpx.AsyncClient,
    sign_up: SignUp,
    send_all: SendAll,
    admin: dict[str, str],
    clock: Clock,
) -> None:
    await sign_up()
    [asked] = await send_all()
    assert (await client.get(link_in(asked, "confirm"))).status_code == 200
    assert (await client.post(link_in(asked, "confirm"))).status_code == 200
    *_, welcome = await send_all()
    assert await _events(client, admin) == ["requested api", "confirmed page"]

    clock.advance(minutes=20)
    left = await client.post(way_out(welcome), data=ONE_CLICK)
    assert (left.status_code, left.history) == (200, [])
    assert (await client.post(link_in(asked, "confirm"))).status_code == 410
    await sign_up()
    *_, again = await send_all()
    assert (await client.post(link_in(asked, "confirm"))).status_code == 410
    assert (await client.post(link_in(again, "confirm"))).status_code == 200

    assert (await client.post(way_out(asked), data=ONE_CLICK)).status_code == 200
    assert len(await send_all()) == 3, "the second welcome was overtaken"
    assert (await _events(client, admin))[2:] == [
        "withdrawn one_click",
        "requested api",
        "confirmed page",
        "withdrawn one_click",
    ]


async def _events(client: httpx.AsyncClient, admin: dict[str, str]) -> list[str]:
    path = "/v1/subscribers/ann@example.org/consent"
    proof = (await client.get(path, headers=admin)).json()
    assert proof["verified"] is True
    return [f"{event['kind']} {event['method']}" for event in proof["events"]]


async def test_whoever_has_left_gets_no_mail_that_was_still_waiting(
    client: httpx.AsyncClient, sign_up: SignUp, send_all: SendAll, clock: Clock
) -> None:
    await sign_up()
    [asked] = await send_all()
    await client.post(link_in(asked, "confirm"))
    clock.advance(days=2)
    await sign_up()
    await client.post(way_out(asked))
    clock.advance(days=30)
    assert len(await send_all()) == 1


async def test_a_subscriber_who_asks_again_is_told_so(
    client: httpx.AsyncClient, sign_up: SignUp, send_all: SendAll, clock: Clock
) -> None:
    await sign_up()
    [asked] = await send_all()
    await client.post(link_in(asked, "confirm"))
    clock.advance(days=2)
    assert (await sign_up()).status_code == 202
    mails = await send_all()
    assert [mail.keys() for mail in mails] == [HEADERS] * 3
    assert len({mail["Message-ID"] for mail in mails}) == 3
    assert "confirm/" not in text_of(mails[-1])

from datetime import datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.domain.subscription import Reason
from tests.web.answers import faults
from tests.web.conftest import Insert, Listed
from tests.web.people import DAY, Person

pytestmark = [pytest.mark.anyio]


async def test_an_item_has_exactly_the_members_of_the_contract(
    client: httpx.AsyncClient, insert: Insert, admin: dict[str, str]
) -> None:
    person = Person(
        "Ann@example.org", {"b": ("confirmed", DAY), "a": ("pending", None)}, "Ann", "de"
    )
    await insert([person])
    page = (await client.get("/v1/subscribers", headers=admin)).json()
    assert set(page) == {"items", "next_cursor"}
    [item] = page["items"]
    one = (await client.get(f"/v1/subscribers/{item['id']}", headers=admin)).json()
    assert one == item
    UUID(item.pop("id"))
    subscriptions = item.pop("subscriptions")
    assert item == {
        "email": "Ann@example.org",
        "name": "Ann",
        "locale": "de",
        "attributes": {},
        "created_at": "2026-03-01T00:00:00Z",
        "suppressed": False,
    }
    nothing = {"ended_at": None, "paused_until": None}
    requested = {"requested_at": "2026-03-01T00:00:00Z"}
    confirmed = {"confirmed_at": "2026-03-01T00:00:00Z"}
    assert subscriptions == [
        {"newsletter": "a", "status": "pending", "confirmed_at": None, **requested, **nothing},
        {"newsletter": "b", "status": "confirmed", **confirmed, **requested, **nothing},
    ]


def _after(days: int) -> str:
    return (DAY + timedelta(days=days)).isoformat()


FILTERS: dict[str, list[Any]] = {
    "newsletter": [None, "a", "b"],
    "status": [None, "confirmed", "unsubscribed"],
    "confirmed_after": [None, _after(1)],
    "confirmed_before": [None, _after(2)],
    "suppressed": [None, "true", "false"],
}
HELD: list[dict[str, tuple[str, datetime | None]]] = [
    {},
    {"a": ("pending", None)},
    {"a": ("confirmed", DAY)},
    {"a": ("confirmed", DAY + timedelta(days=1))},
    {"b": ("confirmed", DAY + timedelta(days=2))},
    {"a": ("unsubscribed", DAY + timedelta(days=1)), "b": ("pending", None)},
    {"a": ("unsubscribed", DAY), "b": ("confirmed", DAY + timedelta(days=1))},
    {"a": ("confirmed", DAY), "b": ("unsubscribed", DAY + timedelta(days=1))},
]


def _matches(person: Person, wanted: dict[str, str]) -> bool:
    """Say in plain Python what the contract says of the filters."""

    def one(slug: str, status: str, at: datetime | None) -> bool:
        return (
            wanted.get("newsletter", slug) == slug
            and wanted.get("status", status) == status
            and (
                "confirmed_after" not in wanted
                or (at is not None and at.isoformat() >= wanted["confirmed_after"])
            )
            and (
                "confirmed_before" not in wanted
                or (at is not None and at.isoformat() < wanted["confirmed_before"])
            )
        )

    asks_subscription = set(wanted) - {"suppressed"}
    is_held = any(one(slug, *held) for slug, held in person.held.items())
    flag = wanted.get("suppressed")
    is_flagged = flag is None or (flag == "true") == (person.suppressed is not None)
    return is_flagged and (is_held or not asks_subscription)


async def test_filters_combine_on_one_subscription(insert: Insert, listed: Listed) -> None:
    people = [
        Person(f"p{i}{flag or ''}@example.org", dict(held), suppressed=flag)
        for i, held in enumerate(HELD)
        for flag in (None, Reason.COMPLAINT)
    ]
    await insert(people)
    for values in product(*FILTERS.values()):
        wanted = {n: v for n, v in zip(FILTERS, values, strict=True) if v is not None}
        expected = sorted(person.email for person in people if _matches(person, wanted))
        assert await listed(sort="email", **wanted) == expected, wanted


async def test_created_after_is_inclusive_and_created_before_is_not(
    insert: Insert, listed: Listed
) -> None:
    people = [
        Person(f"p{i}@example.org", created_at=DAY + timedelta(microseconds=i)) for i in range(3)
    ]
    await insert(people)
    middle = people[1].created_at
    berlin = middle.astimezone(tz=None).isoformat()
    for shown in (middle.isoformat(), middle.isoformat().replace("+00:00", "Z"), berlin):
        assert await listed(created_after=shown, sort="email") == [
            "p1@example.org",
            "p2@example.org",
        ]
        assert await listed(created_before=shown) == ["p0@example.org"]
    assert await listed(created_after=middle.isoformat(), created_before=middle.isoformat()) == []


async def test_each_other_filter_alone(insert: Insert, listed: Listed) -> None:
    await insert(
        [
            Person("Ann.Lee@Example.org", locale="de"),
            Person("bob@example.org", locale="de-AT", suppressed=Reason.HARD_BOUNCE),
            Person("cat@example.org", suppressed=Reason.ERASED),
        ]
    )
    ann, bob, cat = "Ann.Lee@Example.org", "bob@example.org", "cat@example.org"
    assert await listed(email="ANN.lee@EXAMPLE.org") == [ann]
    assert await listed(email="nobody@example.org") == []
    assert await listed(locale="de") == [ann]
    assert await listed(suppressed="true") == [bob], "erased blocks no mail"
    assert await listed(suppressed="false", sort="email") == [ann, cat]
    assert await listed(newsletter="nope") == []


QUESTIONS = {
    "ANN": "ann_lee percent",
    "example.org": "ann_lee bobxlee percent quote slash",
    "_": "ann_lee",
    "%": "percent",
    "n_l": "ann_lee",
    "\\": "slash",
    "/": "slash",
    "'": "quote",
    '"': "quote",
    "' OR 1=1 --": "",
    "O'Hara \"The": "quote",
    "  lee  ": "ann_lee bobxlee",
    "ö": "slash",
    "": "ann_lee bobxlee percent quote slash",
}


async def test_q_finds_a_part_of_address_or_name_literally(insert: Insert, listed: Listed) -> None:
    names = {"percent": "100% Ann", "slash": "a\\b/ö", "quote": 'O\'Hara "The" Boss'}
    everybody = ("ann_lee", "bobxlee", "percent", "slash", "quote")
    await insert([Person(f"{part}@example.org", name=names.get(part)) for part in everybody])
    found = {q: await listed(q=q, sort="email") for q in QUESTIONS}
    shown = {q: " ".join(e.partition("@")[0] for e in emails) for q, emails in found.items()}
    assert shown == QUESTIONS


NO_TIMES = (
    "",
    "yesterday",
    "2026-03-01",
    "2026-03-01T00:00:00",
    "2026-13-01T00:00:00Z",
    "1772323200",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
)
NO_QUESTIONS = {
    "limit": ("", "0", "501", "-1", "ten", "9" * 30),
    "offset": ("1",),
    "Status": ("pending",),
    "status": ("", "gone", "Pending"),
    "sort": ("", "name", "created_at; DROP TABLE subscribers"),
    "suppressed": ("", "perhaps"),
    "count": ("", "2"),
    "email": ("", "not an address", "Ann <ann@example.org>", "ann@example.org\x00"),
    "q": ("\x00", "\u202e", "x" * 201),
    "newsletter": ("a\x00",),
    "locale": ("\x1b",),
    "created_after": NO_TIMES,
    "created_before": NO_TIMES,
    "confirmed_after": NO_TIMES,
    "confirmed_before": NO_TIMES,
}


async def test_what_cannot_be_asked_is_named(
    client: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    for name, values in NO_QUESTIONS.items():
        for bad in values:
            answer = await client.get("/v1/subscribers", params={name: bad}, headers=admin)
            assert faults(answer) == [f"/{name}"], bad


async def test_a_question_is_asked_once(client: httpx.AsyncClient, admin: dict[str, str]) -> None:
    twice = "/v1/subscribers?status=pending&status=confirmed&limit=1&limit=2"
    assert faults(await client.get(twice, headers=admin)) == ["/status", "/limit"]


async def test_odd_but_possible_questions_find_nobody(insert: Insert, listed: Listed) -> None:
    await insert([Person("ann@example.org", {"a": ("pending", None)})])
    for params in (
        {"created_after": "9999-12-31T23:59:59.999999Z"},
        {"created_before": "0001-01-01T00:00:00Z"},
        {"q": "\ufffd"},
        {"q": "x" * 200},
        {"newsletter": ""},
        {"newsletter": "'; --"},
        {"locale": "ö"},
    ):
        assert await listed(**params) == [], params

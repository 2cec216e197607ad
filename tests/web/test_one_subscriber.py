import hashlib
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from tests.conftest import Clock, SignUp
from tests.web.answers import problem
from tests.web.conftest import Paths

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]


@pytest.mark.parametrize(
    "email", ["Ann+tag@Example.org", "o'hara@example.org", "ünï@bücher.example"]
)
async def test_a_subscriber_is_found_by_id_and_by_address_in_any_case(
    client: httpx.AsyncClient, sign_up: SignUp, admin: dict[str, str], email: str
) -> None:
    client.headers.update(admin)
    await sign_up(email)
    [item] = (await client.get("/v1/subscribers")).json()["items"]
    assert item["email"] == email.replace("E", "e") or email.isascii()
    capitals = "".join(c.upper() if c.isascii() else c for c in email)
    names = (item["id"], item["id"].upper(), quote(email, safe=""), quote(capitals, safe=""), email)
    for name in names:
        assert (await client.get(f"/v1/subscribers/{name}")).json() == item
        assert (await client.get(f"/v1/subscribers/{name}/consent")).status_code == 200


async def test_who_is_not_there_is_not_found(
    client: httpx.AsyncClient, sign_up: SignUp, admin: dict[str, str]
) -> None:
    await sign_up()
    for name in (
        uuid4(),
        "0",
        "-1",
        "ann",
        "bob@example.org",
        "ann@example.org%00",
        "Ann%20%3Cann@example.org%3E",
        "%40",
        "%00",
        "%ff%fe",
        "a" * 5_000,
        "a" * 5_000 + "@example.org",
        "ann@example.org%2Fconsent%2Fx",
        "'%20OR%20'1'='1",
        "%F0%9D%9F%99" * 32,
    ):
        for path in ("", "/consent"):
            answer = await client.get(f"/v1/subscribers/{name}{path}", headers=admin)
            problem(answer, 404, "not-found")


async def test_the_proof_is_what_an_authority_asks(
    client: httpx.AsyncClient, sign_up: SignUp, paths: Paths, admin: dict[str, str], clock: Clock
) -> None:
    await sign_up("Ann@example.org", page_url="https://www.example.org/join?x=1")
    links = await paths()
    clock.advance(minutes=1)
    await client.post(links["confirm"], headers={"User-Agent": "a browser"})
    clock.advance(minutes=1)
    await client.post(links["unsubscribe"], data={"List-Unsubscribe": "One-Click"})
    proof = (await client.get("/v1/subscribers/ann@example.org/consent", headers=admin)).json()
    assert set(proof) == {"subscriber", "events", "wordings", "policies", "verified"}
    assert proof["verified"] is True
    assert proof["subscriber"]["email"] == "Ann@example.org"
    requested, confirmed, withdrawn = proof["events"]
    story = [(e["sequence"], e["kind"], e["method"], e["confirms"]) for e in proof["events"]]
    assert story == [
        (1, "requested", "api", None),
        (2, "confirmed", "page", 1),
        (3, "withdrawn", "one_click", None),
    ]
    assert requested["page_url"] == "https://www.example.org/join"
    assert confirmed["user_agent"] == "a browser"
    assert confirmed["policy_version"] == requested["policy_version"] == "2026-01"
    assert withdrawn["policy_version"] is None
    assert requested["previous_hash"] == "0" * 64
    assert [e["previous_hash"] for e in (confirmed, withdrawn)] == [
        requested["hash"],
        confirmed["hash"],
    ]
    [wording], [policy] = proof["wordings"], proof["policies"]
    assert wording["hash"] == requested["wording"]
    assert hashlib.sha256(wording["text"].encode()).hexdigest() == wording["hash"]
    assert hashlib.sha256(policy["text"].encode()).hexdigest() == policy["sha256"]
    salted = bytes.fromhex(requested["address_salt"]) + b"Ann@example.org"
    assert hashlib.sha256(salted).hexdigest() == requested["address_digest"]
    assert "id" not in requested

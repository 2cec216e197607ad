"""Each bad body has its documented status, says where it is wrong, and stores nothing."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.web.answers import MARK, VARY, as_json, body_of, faults, on_sqlite, problem
from tests.web.conftest import Stored

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]

JSON = "application/json"
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"
GOOD = b'{"email": "ann@example.org", "consent": true}'
FORM = b"email=ann@example.org&consent=on"
PART = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
PARTS = PART % (b"email", b"ann@example.org") + PART % (b"consent", b"on")
FILE = b'--b\r\nContent-Disposition: form-data; name="f"; filename="%b"\r\n\r\nx\r\n'
NAMES = {400: "unreadable", 413: "too-large", 415: "unsupported-media-type", 422: "invalid"}

BODIES: dict[str, tuple[int, str, bytes]] = {
    "nothing": (400, JSON, b""),
    "malformed": (400, JSON, b'{"email": ' + MARK.encode()),
    "truncated": (400, JSON, GOOD[:-1]),
    "two values": (400, JSON, GOOD + GOOD),
    "single quotes": (400, JSON, GOOD.replace(b'"', b"'")),
    "a trailing comma": (400, JSON, GOOD[:-1] + b",}"),
    "deep arrays": (400, JSON, b"[" * 60_000),
    "deep objects": (400, JSON, b'{"a":' * 12_000),
    "deep and closed": (400, JSON, b"[" * 30_000 + b"]" * 30_000),
    "a huge integer": (400, JSON, b'{"email": ' + b"9" * 5_000 + b"}"),
    "NaN": (400, JSON, b'{"email": NaN, "consent": true}'),
    "Infinity": (400, JSON, GOOD[:-1] + b', "name": -Infinity}'),
    "invalid UTF-8": (400, JSON, b'{"email": "\xff@example.org"}'),
    "a surrogate in UTF-8": (400, JSON, b'{"email": "\xed\xa0\x80@example.org"}'),
    "UTF-16": (400, JSON, GOOD.decode().encode("utf-16")),
    "a byte order mark": (400, JSON, b"\xef\xbb\xbf" + GOOD),
    "another charset": (400, JSON + "; charset=iso-8859-1", GOOD),
    "an unknown charset": (400, JSON + '; charset="nope"', GOOD),
    "an array": (422, JSON, b"[" + GOOD + b"]"),
    "a string": (422, JSON, b'"ann@example.org"'),
    "null": (422, JSON, b"null"),
    "a number": (422, JSON, b"1e999"),
    "an empty object": (422, JSON, b"{}"),
    "a member twice": (422, JSON, b'{"email": "a@example.org", ' + GOOD[1:]),
    "no Content-Type": (415, "", GOOD),
    "plain text": (415, "text/plain", GOOD),
    "XML": (415, "application/xml", b"<email>ann@example.org</email>"),
    "octets": (415, "application/octet-stream", GOOD),
    "no media type": (415, ";;;", GOOD),
    "form in invalid UTF-8": (400, URLENCODED, FORM + b"&name=%ff"),
    "form with a surrogate": (400, URLENCODED, FORM + b"&name=%ED%A0%80"),
    "form in raw Latin-1": (400, URLENCODED, FORM + b"&name=\xe4"),
    "form in another charset": (400, URLENCODED + "; charset=latin-1", FORM),
    "too many fields": (400, URLENCODED, FORM + b"&x=1" * 60),
    "form with NUL": (422, URLENCODED, FORM + b"&name=%00"),
    "form with percent garbage": (422, URLENCODED, b"email=ann%zz@%%example.org&consent=on"),
    "an empty form": (422, URLENCODED, b""),
    "JSON as a form": (422, URLENCODED, GOOD),
    "a field twice": (422, URLENCODED, FORM + b"&email=bob@example.org"),
    "two newsletters": (422, URLENCODED, FORM + b"&newsletter=insights&newsletter=other"),
    "no boundary": (400, "multipart/form-data", PARTS + b"--b--"),
    "a boundary too long": (400, f"multipart/form-data; boundary={'b' * 300}", PARTS + b"--b--"),
    "another boundary": (400, "multipart/form-data; boundary=c", PARTS + b"--b--"),
    "no end": (400, MULTIPART, PARTS),
    "cut in a part": (400, MULTIPART, PARTS + (PART % (b"name", b"Ann"))[:-3]),
    "a part without a name": (400, MULTIPART, PARTS + b"--b\r\n\r\nx\r\n--b--"),
    "parts in Latin-1": (400, MULTIPART, PARTS + PART % (b"name", b"\xe4") + b"--b--"),
    "too many parts": (400, MULTIPART, PARTS + (PART % (b"x", b"1")) * 60 + b"--b--"),
    "parts in another charset": (400, MULTIPART + "; charset=latin-1", PARTS + b"--b--"),
    "a file": (415, MULTIPART, PARTS + FILE % b"a.txt" + b"--b--"),
    "an empty file": (415, MULTIPART, PARTS + FILE % b"" + b"--b--"),
    "several files": (415, MULTIPART, PARTS + (FILE % b"a") * 3 + b"--b--"),
    "a binary file": (415, MULTIPART, PARTS + FILE % b"\xff" + b"--b--"),
    "a part twice": (422, MULTIPART, PARTS + PART % (b"email", b"b@example.org") + b"--b--"),
    "no parts": (422, MULTIPART, b"--b--"),
}


async def test_a_bad_body_is_refused_for_what_it_is(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    before = await stored()
    got = {}
    for name, (status, kind, content) in BODIES.items():
        headers = {"Accept": JSON} | ({"Content-Type": kind} if kind else {})
        answer = await client.post("/v1/subscriptions", content=content, headers=headers)
        got[name] = answer.status_code
        problem(answer, answer.status_code, NAMES.get(status, ""))
        assert answer.headers["vary"] == VARY
    assert got == {name: status for name, (status, _, _) in BODIES.items()}
    assert await stored() == before


INJECTED = "\r\nBcc: victim@example.org"
ENCODED = "=?utf-8?q?hi=0d=0aBcc:_x@example.org?="
CONTROLS = ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\n", "\u2028", "\u2029"]
BIDI = ["\u200e", "\u200f", "\u061c", "\u202a", "\u202e", "\u2066", "\u2069"]
BY_FIELD: dict[str, list[Any]] = {
    "email": [
        *(5, 1.5, None, True, [], {}, ["ann@example.org"]),
        *("", " ", MARK, f"{MARK}@", f"@{MARK}.org", f"{MARK}@@example.org"),
        f"{MARK} <ann@example.org>",
        f'"{MARK}" <ann@example.org>',
        f"<{MARK}@example.org>",
        f"{MARK}@example.org, bob@example.org",
        f"{MARK}@example.org>{INJECTED}",
        f"{MARK}@example.org{INJECTED}",
        f"{ENCODED}@example.org",
        "a" * 65 + "@example.org",
        f"ann@{'a' * 64}.org",
        f"ann@{'a.' * 130}org",
        "a" * 60_000 + "@example.org",
        f"{MARK}@[127.0.0.1]",
        f"{MARK}@localhost",
        f"{MARK}@example..org",
        f"{MARK}\ud800@example.org",
        *(f"{MARK}{sign}x@example.org" for sign in (*CONTROLS, *BIDI)),
    ],
    "name": [
        *(5, False, [MARK], {"first": MARK}),
        *(f"{MARK}{sign}x" for sign in (*CONTROLS, *BIDI, "\ud800", "\udfff")),
        MARK + INJECTED,
        MARK + ENCODED,
        MARK + "x" * 100,
        f"{MARK} https://buy.example",
        f"WWW.{MARK}.example",
    ],
    "locale": [5, "", "x", "en_GB", "english please", MARK + "\ud800"],
    "newsletter": [5, "", ["insights"], f"insights\x00{MARK}", "\ud800"],
    "policy_version": [5, 2026.01, "", f"{MARK}\x00", "\ud800"],
    "wording": [5, MARK, f"{MARK}\x00", "\ud800", MARK * 100],
    "page_url": [5, ["https://example.org"]],
    "website": [5, False, []],
    "newsletters": [["insights"]],
    "Email": ["ann@example.org"],
}
VALUES = [(field, value) for field, values in BY_FIELD.items() for value in values]


def _with(field: str, value: object) -> dict[str, Any]:
    return as_json({"email": "ann@example.org", "consent": True, field: value})


async def test_a_bad_value_is_named_by_its_pointer_and_not_repeated(
    client: httpx.AsyncClient, stored: Stored
) -> None:
    before = await stored()
    for field, bad in VALUES:
        answer = await client.post("/v1/subscriptions", **_with(field, bad))
        assert faults(answer) == [f"/{field}"], (field, bad)
    assert await stored() == before


LONG = "e" * 5_000


@on_sqlite
async def test_an_odd_member_has_an_escaped_pointer(client: httpx.AsyncClient) -> None:
    odd = {"a/b~c": "/a~1b~0c", "": "/", LONG: "/" + LONG[:100], "\ud800": ""}
    for member, pointer in odd.items():
        assert faults(await client.post("/v1/subscriptions", **_with(member, 1))) == [pointer]


@on_sqlite
async def test_a_member_that_stands_twice_is_named(client: httpx.AsyncClient) -> None:
    twice = {"name": "/name", "a/b~c": "/a~1b~0c", LONG: "/" + LONG[:100], "\ud800": "/?"}
    for member, pointer in twice.items():
        body = f"{{{json.dumps(member)}: 1, {json.dumps(member)}: 2}}"
        headers = {"Content-Type": JSON}
        answer = await client.post("/v1/subscriptions", content=body, headers=headers)
        assert faults(answer) == [pointer]


@on_sqlite
async def test_an_answer_is_not_much_larger_than_what_it_answers(client: httpx.AsyncClient) -> None:
    many = {f"x{i}": 1 for i in range(3_000)}
    answer = await client.post("/v1/subscriptions", json=many)
    assert len(faults(answer)) == 20
    twice = "{" + ",".join(f'"{i}": 1, "{i}": 2' for i in range(3_000)) + "}"
    headers = {"Content-Type": JSON}
    answer = await client.post("/v1/subscriptions", content=twice, headers=headers)
    assert len(faults(answer)) == 20


@on_sqlite
async def test_every_fault_is_told_at_once(client: httpx.AsyncClient) -> None:
    body = {"email": "no", "consent": False, "name": 5, "x": 1}
    answer = await client.post("/v1/subscriptions", json=body)
    assert sorted(faults(answer)) == ["/consent", "/email", "/name", "/x"]


@on_sqlite
@pytest.mark.parametrize("kind", ["urlencoded", "multipart"])
async def test_a_form_is_as_strict_about_values(
    client: httpx.AsyncClient, stored: Stored, kind: str
) -> None:
    before = await stored()
    for field, bad in VALUES:
        is_sendable = isinstance(bad, str) and not re.search("[\ud800-\udfff]", bad)
        is_ignored = field in {"newsletters", "Email"} or (field != "email" and bad == "")
        if is_ignored or not is_sendable:
            continue
        form = {"email": "ann@example.org", "consent": "on", field: bad}
        answer = await client.post(
            "/v1/subscriptions", **body_of(kind, form), headers={"Accept": JSON}
        )
        assert faults(answer) == [f"/{field}"], (field, bad)
    assert await stored() == before


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 8192):
        yield b"x" * 8192


@pytest.mark.parametrize("kind", [JSON, URLENCODED, MULTIPART])
@pytest.mark.parametrize("chunked", [False, True])
@on_sqlite
async def test_a_megabyte_is_not_read(
    client: httpx.AsyncClient, stored: Stored, kind: str, *, chunked: bool
) -> None:
    before = await stored()
    content = _chunks(2**20) if chunked else b"x" * 2**20
    headers = {"Content-Type": kind, "Accept": JSON}
    answer = await client.post("/v1/subscriptions", content=content, headers=headers)
    problem(answer, 413, "too-large")
    assert answer.headers["vary"] == VARY
    assert await stored() == before


@on_sqlite
@pytest.mark.parametrize(("size", "status"), [(64 * 1024, 202), (64 * 1024 + 1, 413)])
async def test_the_limit_is_64_kib(client: httpx.AsyncClient, size: int, status: int) -> None:
    for content in (GOOD.ljust(size), _once(GOOD.ljust(size))):
        headers = {"Content-Type": JSON}
        answer = await client.post("/v1/subscriptions", content=content, headers=headers)
        assert answer.status_code == status


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content

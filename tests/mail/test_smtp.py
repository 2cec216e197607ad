import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from app.domain.retry import Outcome, Verdict
from app.mail import connections
from app.mail.compose import compose
from app.mail.connections import Server, Timeouts, Tls
from app.mail.message import parse
from app.mail.smtp import SmtpTransport
from tests.mail.letters import KINDS, LETTER, LETTERHEAD, UNSUBSCRIBE, message
from tests.mail.servers import DROP, HANG, Scripted, free_port, receiving, scripted

pytestmark = pytest.mark.anyio
SENT = Verdict(Outcome.SENT, "250 2.0.0")
SHORT = Timeouts(connect=0.2, command=0.2, data=0.2, dot=0.2)


def client(port: int, limit: int = 1, timeouts: Timeouts | None = None) -> SmtpTransport:
    return SmtpTransport(Server("127.0.0.1", port, Tls.NONE), limit, timeouts)


async def verdict_of(transport: SmtpTransport, *, number: int = 1) -> Verdict:
    try:
        return await transport.send(message(number))
    finally:
        await transport.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_receives_the_bytes_that_were_composed(kind: str) -> None:
    sent = compose(kind, LETTERHEAD).fill(LETTER)
    async with receiving() as inbox:
        transport = client(inbox.port)
        assert await transport.send(sent) == Verdict(Outcome.SENT, "250 2.0.0")
        await transport.close()
    assert inbox.contents == [sent.content]
    assert inbox.envelopes[0].mail_from == "news@example.org"
    assert inbox.envelopes[0].rcpt_tos == ["Reader@Example.org"]
    assert f"\r\nList-Unsubscribe: <{UNSUBSCRIBE}>\r\n".encode() in inbox.contents[0]
    assert parse(inbox.contents[0]).defects == []


@pytest.mark.parametrize(
    "content",
    [
        b".\r\n..\r\n.hidden\r\n",
        b"Subject: x\r\n\r\n.\r\nRSET\r\n..a\r\n",
        b"Subject: x\r\n\r\nno line end",
        b"a\r\n.",
    ],
)
async def test_lines_that_begin_with_a_dot_arrive(content: bytes) -> None:
    async with receiving() as inbox:
        transport = client(inbox.port)
        await transport.send(message(content=content))
        await transport.close()
    assert inbox.contents == [content if content.endswith(b"\r\n") else content + b"\r\n"]


async def test_an_internationalised_address_goes_as_smtputf8() -> None:
    sent = compose("confirm", LETTERHEAD).fill(replace(LETTER, recipient="jürgen@example.org"))
    async with receiving(enable_SMTPUTF8=True) as inbox:
        transport = client(inbox.port)
        assert (await transport.send(sent)).outcome is Outcome.SENT
        await transport.close()
    assert inbox.envelopes[0].rcpt_tos == ["jürgen@example.org"]
    assert "\r\nTo: jürgen@example.org\r\n".encode() in inbox.contents[0]


async def test_a_server_without_smtputf8_is_not_asked() -> None:
    async with scripted() as server:
        transport = client(server.port)
        verdict = await transport.send(message(recipient="jürgen@example.org"))
        assert verdict == Verdict(Outcome.BAD_MESSAGE, "SmtpUtf8NotOffered")
        assert await transport.send(message()) == SENT
        await transport.close()
    assert server.verbs() == ["EHLO", "MAIL", "RCPT", "DATA", ".", "QUIT"]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "a@x>\r\nRCPT TO:<evil@example.org",
        "a@x\nb",
        "a b@example.org",
        "a@example.org SIZE=1",
        "<a@example.org>",
        "a\0@example.org",
        "a\x7f@example.org",
        "a\u2028@example.org",
    ],
)
async def test_an_envelope_that_could_be_two_commands_is_not_sent(address: str) -> None:
    for unsafe in (message(sender=address), message(recipient=address)):
        verdict = await client(1).send(unsafe)
        assert verdict == Verdict(Outcome.BAD_MESSAGE, "UnsafeMessage")


@pytest.mark.parametrize(
    "content",
    [b"a\n.\r\nMAIL", b"a\r.\r\nMAIL", b"a\nb", b"a\rb\n", b"a\0b"],
)
async def test_a_content_that_could_be_two_messages_is_not_sent(content: bytes) -> None:
    verdict = await client(1).send(message(content=content))
    assert verdict == Verdict(Outcome.BAD_MESSAGE, "UnsafeMessage")


async def test_a_connection_is_used_again() -> None:
    async with scripted() as server:
        transport = client(server.port)
        for number in range(3):
            assert await transport.send(message(number)) == SENT
        await transport.close()
    assert len(server.heard) == 1
    assert server.verbs() == ["EHLO", *["MAIL", "RCPT", "DATA", "."] * 3, "QUIT"]


async def test_many_messages_wear_a_connection_out() -> None:
    async with scripted() as server:
        transport = client(server.port)
        for number in range(connections.MESSAGES + 1):
            assert await transport.send(message(number)) == SENT
        await transport.close()
    assert len(server.heard) == 2
    assert server.verbs(0).count("MAIL") == connections.MESSAGES


async def test_no_more_connections_are_open_than_allowed() -> None:
    async with scripted() as server:
        transport = client(server.port, limit=2)
        verdicts = await asyncio.gather(*(transport.send(message(n)) for n in range(9)))
        await transport.close()
    assert verdicts == [SENT] * 9
    assert len(server.heard) == 2


async def _until_closed(server: Scripted) -> None:
    for writer in server.writers:
        writer.close()
        await writer.wait_closed()
    await asyncio.sleep(0.05)


async def test_a_server_that_closed_an_idle_connection_costs_nothing() -> None:
    async with scripted() as server:
        transport = client(server.port)
        assert await transport.send(message(1)) == SENT
        await _until_closed(server)
        assert await transport.send(message(2)) == SENT
        await transport.close()
    assert len(server.heard) == 2


@pytest.mark.parametrize("last_words", [DROP, "421 4.4.2 too long idle"])
async def test_a_connection_that_dies_at_mail_costs_nothing(last_words: str) -> None:
    async with scripted(MAIL=["250 ok", last_words, "250 ok"]) as server:
        transport = client(server.port)
        assert await transport.send(message(1)) == SENT
        assert await transport.send(message(2)) == SENT
        await transport.close()
    assert len(server.heard) == 2


async def test_a_new_connection_that_dies_at_mail_is_not_tried_twice() -> None:
    async with scripted(MAIL=DROP) as server:
        verdict = await verdict_of(client(server.port))
    assert verdict.outcome is Outcome.RETRY_TRANSPORT
    assert len(server.heard) == 1


async def test_an_old_connection_is_not_trusted() -> None:
    async with scripted() as server:
        transport = client(server.port, timeouts=Timeouts(idle=0))
        assert await transport.send(message(1)) == SENT
        assert await transport.send(message(2)) == SENT
        await transport.close()
    assert len(server.heard) == 2


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"greeting": "421 4.7.0 busy"}, Verdict(Outcome.RETRY_TRANSPORT, "421 4.7.0")),
        ({"greeting": "554 go away"}, Verdict(Outcome.SENDER_FAULT, "554")),
        ({"greeting": "nonsense"}, Verdict(Outcome.RETRY_TRANSPORT, "-1")),
        ({"MAIL": "550 5.7.1 no"}, Verdict(Outcome.SENDER_FAULT, "550 5.7.1")),
        ({"MAIL": "421 bye"}, Verdict(Outcome.RETRY_TRANSPORT, "421")),
        ({"RCPT": "550 5.1.1 who"}, Verdict(Outcome.REFUSED, "550 5.1.1")),
        ({"RCPT": "450 4.7.1 later"}, Verdict(Outcome.RETRY_RECIPIENT, "450 4.7.1")),
        ({"RCPT": "550-5.1.1 no\r\n550 5.1.1 mail"}, Verdict(Outcome.REFUSED, "550 5.1.1")),
        ({"RCPT": "354 what"}, Verdict(Outcome.RETRY_TRANSPORT, "354")),
        ({"RCPT": "251 elsewhere"}, SENT),
        ({"DATA": "554 5.5.1 no"}, Verdict(Outcome.BAD_MESSAGE, "554 5.5.1")),
        ({"DATA": "421 bye"}, Verdict(Outcome.RETRY_TRANSPORT, "421")),
        ({"DATA": "250 what"}, Verdict(Outcome.RETRY_TRANSPORT, "250")),
        ({"dot": "554 5.6.0 bad"}, Verdict(Outcome.BAD_MESSAGE, "554 5.6.0")),
        ({"dot": "452 4.3.1 full"}, Verdict(Outcome.RETRY_RECIPIENT, "452 4.3.1")),
        ({"dot": "421 4.3.0 bye"}, Verdict(Outcome.RETRY_TRANSPORT, "421 4.3.0")),
        ({"dot": "nonsense"}, Verdict(Outcome.UNKNOWN, "-1")),
    ],
)
async def test_an_answer_is_judged_by_where_it_came(
    answers: dict[str, str],
    expected: Verdict,
) -> None:
    async with scripted(**answers) as server:
        assert await verdict_of(client(server.port)) == expected


@pytest.mark.parametrize("place", ["greeting", "EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("trouble", [HANG, DROP])
async def test_silence_before_the_dot_is_tried_again(place: str, trouble: str) -> None:
    async with scripted(**{place: trouble}) as server:
        verdict = await verdict_of(client(server.port, timeouts=SHORT))
    assert verdict.outcome is Outcome.RETRY_TRANSPORT
    assert "." not in server.verbs()


@pytest.mark.parametrize("trouble", [HANG, DROP])
async def test_silence_after_the_dot_means_that_nobody_knows(trouble: str) -> None:
    async with scripted(dot=trouble) as server:
        verdict = await verdict_of(client(server.port, timeouts=SHORT))
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.detail in {"TimeoutError", "SMTPServerDisconnected"}


async def test_nobody_listening_is_tried_again() -> None:
    verdict = await verdict_of(client(free_port()))
    assert verdict == Verdict(Outcome.RETRY_TRANSPORT, "ConnectionRefusedError")


async def test_a_host_that_does_not_exist_is_tried_again() -> None:
    transport = SmtpTransport(Server("nowhere.invalid", 25, Tls.NONE), 1, Timeouts(connect=5))
    assert (await verdict_of(transport)).outcome is Outcome.RETRY_TRANSPORT


@pytest.mark.parametrize(
    ("place", "reply", "verbs"),
    [
        ("MAIL", "550 5.7.1 no", ["MAIL", "RSET"]),
        ("RCPT", "550 5.1.1 no", ["MAIL", "RCPT", "RSET"]),
        ("DATA", "451 4.3.0 no", ["MAIL", "RCPT", "DATA", "RSET"]),
        ("dot", "554 5.6.0 no", ["MAIL", "RCPT", "DATA", "."]),
    ],
)
async def test_a_refused_message_leaves_the_connection_clean(
    place: str,
    reply: str,
    verbs: list[str],
) -> None:
    good = {"DATA": "354 go on", "dot": "250 2.0.0 ok"}.get(place, "250 ok")
    async with scripted(**{place: [reply, good]}) as server:
        transport = client(server.port)
        assert (await transport.send(message(1))).outcome is not Outcome.SENT
        assert await transport.send(message(2)) == SENT
        await transport.close()
    assert server.verbs() == ["EHLO", *verbs, "MAIL", "RCPT", "DATA", ".", "QUIT"]


@pytest.mark.parametrize("reset", ["502 what", DROP, HANG])
async def test_a_connection_that_cannot_be_reset_is_dropped(reset: str) -> None:
    async with scripted(RCPT=["550 5.1.1 no", "250 ok"], RSET=reset) as server:
        transport = client(server.port, timeouts=SHORT)
        assert await transport.send(message(1)) == Verdict(Outcome.REFUSED, "550 5.1.1")
        assert await transport.send(message(2)) == SENT
        await transport.close()
    assert len(server.heard) == 2


@pytest.mark.parametrize("place", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "dot"])
async def test_a_cancelled_send_leaves_no_half_used_connection(place: str) -> None:
    good = {"greeting": "220 ready", "DATA": "354 go on", "dot": "250 2.0.0 ok"}
    async with scripted(**{place: [HANG, good.get(place, "250 2.0.0 ok")]}) as server:
        transport = client(server.port)
        task = asyncio.create_task(transport.send(message(1)))
        await asyncio.sleep(0.1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert await asyncio.wait_for(transport.send(message(2)), 2) == SENT
        await transport.close()
    assert len(server.heard) == 2
    assert server.verbs(1) == ["EHLO", "MAIL", "RCPT", "DATA", ".", "QUIT"]


async def test_after_closing_no_connection_is_kept() -> None:
    async with scripted() as server:
        transport = client(server.port)
        await transport.close()
        assert await transport.send(message()) == SENT
        await asyncio.sleep(0.05)
    assert server.verbs()[-1] == "QUIT"


async def test_a_server_that_knows_only_helo_is_good_enough() -> None:
    async with scripted(EHLO="502 what", HELO="250 hello") as server:
        assert await verdict_of(client(server.port)) == SENT
    assert server.verbs()[:3] == ["EHLO", "HELO", "MAIL"]

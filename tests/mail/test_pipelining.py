import asyncio

import pytest

from app.domain.retry import Outcome, Verdict
from app.mail.connections import Server, Timeouts, Tls
from app.mail.smtp import SmtpTransport
from tests.mail.letters import message
from tests.mail.servers import DROP, HANG, scripted

pytestmark = pytest.mark.anyio
PIPELINING = "250-server\r\n250-PIPELINING\r\n250 SIZE 1000000"
SENT = Verdict(Outcome.SENT, "250 2.0.0")
REFUSED = Verdict(Outcome.REFUSED, "550 5.1.1")
NO_ONE = "550 5.1.1 no one"
SHORT = Timeouts(connect=0.2, command=0.2, data=0.2, dot=0.2)


def client(port: int, timeouts: Timeouts | None = None) -> SmtpTransport:
    return SmtpTransport(Server("127.0.0.1", port, Tls.NONE), 1, timeouts)


async def two(port: int, timeouts: Timeouts | None = None) -> list[Verdict]:
    transport = client(port, timeouts)
    try:
        return [await transport.send(message(number)) for number in (1, 2)]
    finally:
        await transport.close()


class Byte:
    """A server that takes all of what is there at once, and answers in the pieces it is told."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.heard: list[bytes] = []
        self.is_done = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in self.pieces:
            for octet in (piece[:1], piece[1:3], piece[3:]):
                writer.write(octet)
                await writer.drain()
                await asyncio.sleep(0.01)
            self.heard.append(await reader.read(65536))
        writer.close()
        self.is_done.set()


async def test_three_commands_go_out_at_once_and_replies_may_come_in_any_pieces() -> None:
    envelope = b"250 2.1.0 ok\r\n250-2.1.5 good\r\n250 2.1.5 ok\r\n354 go on\r\n"
    hello = f"{PIPELINING}\r\n".encode()
    odd = Byte(b"220 ready\r\n", hello, envelope, b"250 2.0.0 queued\r\n", b"221 bye\r\n")
    server = await asyncio.start_server(odd.serve, "127.0.0.1", 0)
    transport = client(server.sockets[0].getsockname()[1])
    assert await transport.send(message()) == SENT
    await transport.close()
    await odd.is_done.wait()
    server.close()
    assert odd.heard[1] == (
        b"MAIL FROM:<news@example.org> SIZE=25\r\nRCPT TO:<reader@example.net>\r\nDATA\r\n"
    )
    assert odd.heard[2] == b"Subject: hi\r\n\r\nhello\r\n.\r\n"


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        (
            {
                "MAIL": ["550 5.7.1 no", "250 ok"],
                "RCPT": ["503 5.5.1 first MAIL", "250 ok"],
                "DATA": ["503 5.5.1 first MAIL", "354 go on"],
            },
            Verdict(Outcome.SENDER_FAULT, "550 5.7.1"),
        ),
        ({"RCPT": [NO_ONE, "250 ok"], "DATA": ["554 5.5.1 none", "354 go on"]}, REFUSED),
        ({"RCPT": ["450 4.7.1 later", "250 ok"], "DATA": ["503 5.5.1 none", "354 go on"]}, None),
        (
            {"DATA": ["451 4.3.0 later", "354 go on"]},
            Verdict(Outcome.RETRY_RECIPIENT, "451 4.3.0"),
        ),
    ],
)
async def test_the_first_refusal_counts_and_the_next_message_goes(
    answers: dict[str, list[str]], verdict: Verdict | None
) -> None:
    async with scripted(EHLO=PIPELINING, **answers) as server:
        first, second = await two(server.port)
    assert first == (verdict or Verdict(Outcome.RETRY_RECIPIENT, "450 4.7.1"))
    assert second == SENT
    opening = ["MAIL", "RCPT", "DATA"]
    assert server.verbs() == ["EHLO", *opening, "RSET", *opening, ".", "QUIT"]


async def test_a_server_that_wants_a_message_for_nobody_gets_an_empty_one() -> None:
    answers = {"RCPT": [NO_ONE, "250 ok"], "dot": ["554 5.5.1 none", "250 2.0.0 ok"]}
    async with scripted(EHLO=PIPELINING, **answers) as server:
        assert await two(server.port) == [REFUSED, SENT]
    assert len(server.heard) == 1
    assert server.messages == [b".\r\n", b"Subject: hi\r\n\r\nhello\r\n.\r\n"]


@pytest.mark.parametrize("trouble", [HANG, DROP, "nonsense", "250ok"])
async def test_trouble_after_a_refusal_does_not_change_it(trouble: str) -> None:
    answers = {"RCPT": [NO_ONE, "250 ok"], "DATA": [trouble, "354 go on"]}
    async with scripted(EHLO=PIPELINING, **answers) as server:
        assert await two(server.port, SHORT) == [REFUSED, SENT]
    assert len(server.heard) == 2


@pytest.mark.parametrize("place", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("trouble", [HANG, DROP, "nonsense", "99 no", "250ok", "421 4.3.2 bye"])
async def test_trouble_before_the_message_is_never_a_doubt(place: str, trouble: str) -> None:
    async with scripted(**{"EHLO": PIPELINING, place: trouble}) as server:
        transport = client(server.port, SHORT)
        verdict = await transport.send(message())
        await transport.close()
    assert verdict.outcome is Outcome.RETRY_TRANSPORT
    assert "." not in server.verbs()


@pytest.mark.parametrize("flood", ["250 " + "x" * 40_000, "250-x\r\n" * 9_000 + "250 x"])
async def test_a_reply_without_end_ends_the_connection(flood: str) -> None:
    async with scripted(EHLO=PIPELINING, MAIL=flood) as server:
        transport = client(server.port)
        verdict = await transport.send(message())
        await transport.close()
    assert verdict == Verdict(Outcome.RETRY_TRANSPORT, "-1")


async def test_a_word_that_nobody_asked_for_ends_an_idle_connection() -> None:
    async with scripted(EHLO=PIPELINING, dot="250 2.0.0 ok\r\n250 2.0.0 and again") as server:
        assert await two(server.port) == [SENT, SENT]
    assert len(server.heard) == 2, "an answer too many would count for the next message"

import asyncio
import socket
import threading
from collections.abc import Sequence

import pytest

from app.domain.retry import Outcome, Verdict
from app.mail import connections, runs
from app.mail.connections import Server, Timeouts, Tls
from app.mail.message import Message
from app.mail.smtp import SmtpTransport
from tests.mail.letters import message
from tests.mail.servers import DROP, HANG, scripted

pytestmark = pytest.mark.anyio
PIPELINING = "250-server\r\n250-PIPELINING\r\n250 SIZE 1000000"
SENT = Verdict(Outcome.SENT, "250 2.0.0")
OPENING = ["MAIL", "RCPT", "DATA"]
SHORT = Timeouts(connect=0.2, command=0.2, data=0.2, dot=0.2)


class Line:
    """Messages in a row; nobody else is there to take any."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.waiting = list(messages)
        self.verdicts: dict[int, Verdict] = {}
        self.out: set[int] = set()
        self.most_out = 0
        self.lapsed: set[int] = set()
        self.was_put_back = asyncio.Event()

    def next(self, *, ahead: bool = False) -> Message | None:
        del ahead
        if not self.waiting:
            return None
        self.out.add(self.waiting[0].id)
        self.most_out = max(self.most_out, len(self.out))
        return self.waiting.pop(0)

    def keeps(self, message: Message) -> bool:
        if message.id in self.lapsed:
            self.out.remove(message.id)
        return message.id not in self.lapsed

    def put_back(self, message: Message) -> None:
        self.out.remove(message.id)
        self.waiting.insert(0, message)
        self.was_put_back.set()

    def answer(self, message: Message, verdict: Verdict) -> None:
        self.out.remove(message.id)
        self.verdicts[message.id] = verdict


def mails(count: int) -> Line:
    return Line([message(number, content=b"%d\r\n" % number) for number in range(1, count + 1)])


async def carried(port: int, line: Line, timeouts: Timeouts | None = None) -> list[Verdict]:
    transport = SmtpTransport(Server("127.0.0.1", port, Tls.NONE), 1, timeouts)
    async with asyncio.timeout(10):
        await transport.carry(line)
        await transport.close()
    assert not line.out
    return [line.verdicts[number] for number in sorted(line.verdicts)]


class Recording(asyncio.Protocol):
    """A server that takes down what comes in one piece, and answers the first and all at once."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"220 ready\r\n")

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        replies = [b"250 2.0.0 ok\r\n"] if data.find(b"\r\n.\r\n") >= 0 else []
        replies += [b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go on\r\n"] if b"DATA\r\n" in data else []
        hello = f"{PIPELINING}\r\n".encode() if data.startswith(b"EHLO") else b"221 bye\r\n"
        self.transport.write(b"".join(replies) or hello)


async def test_an_envelope_goes_out_with_the_message_before_it() -> None:
    server = Recording()
    listening = await asyncio.get_running_loop().create_server(lambda: server, "127.0.0.1", 0)
    assert await carried(listening.sockets[0].getsockname()[1], mails(3)) == [SENT] * 3
    listening.close()
    envelope = b"MAIL FROM:<news@example.org> SIZE=6\r\nRCPT TO:<reader@example.net>\r\nDATA\r\n"
    assert server.pieces[1:] == [
        envelope,
        b"1\r\n.\r\n" + envelope,
        b"2\r\n.\r\n" + envelope,
        b"3\r\n.\r\n",
        b"QUIT\r\n",
    ]


async def test_without_pipelining_nothing_goes_ahead() -> None:
    line = mails(3)
    async with scripted() as server:
        assert await carried(server.port, line) == [SENT] * 3
    assert line.most_out == 1
    assert server.verbs() == ["EHLO", *[*OPENING, "."] * 3, "QUIT"]


NO_MAIL = {
    "RCPT": ["250 2.1.5 ok", "503 5.5.1 no", "250 2.1.5 ok"],
    "DATA": ["354 go on", "503 5.5.1 no", "354 go on"],
}


@pytest.mark.parametrize(
    ("answers", "second", "messages"),
    [
        ({"dot": ["250 2.0.0 ok", "554 5.6.0 bad", "250 2.0.0 ok"]}, "554 5.6.0", b"123"),
        ({"dot": ["250 2.0.0 ok", "451 4.3.0 no", "250 2.0.0 ok"]}, "451 4.3.0", b"123"),
        ({**NO_MAIL, "RCPT": ["250 ok", "550 5.1.1 who", "250 ok"]}, "550 5.1.1", b"13"),
        ({**NO_MAIL, "MAIL": ["250 ok", "451 4.1.8 later", "250 ok"]}, "451 4.1.8", b"13"),
    ],
)
async def test_a_refusal_is_about_one_message_of_the_run(
    answers: dict[str, list[str]], second: str, messages: bytes
) -> None:
    async with scripted(EHLO=PIPELINING, **answers) as server:
        told = await carried(server.port, mails(3))
    assert [verdict.detail for verdict in told] == ["250 2.0.0", second, "250 2.0.0"]
    assert b"".join(message[:1] for message in server.messages) == messages
    assert len(server.heard) == 1


@pytest.mark.parametrize(
    ("trouble", "verdict"),
    [
        (DROP, Verdict(Outcome.UNKNOWN, "SMTPServerDisconnected")),
        (HANG, Verdict(Outcome.UNKNOWN, "TimeoutError")),
        ("nonsense", Verdict(Outcome.UNKNOWN, "-1")),
        ("421 4.3.2 bye", Verdict(Outcome.RETRY_TRANSPORT, "421 4.3.2")),
    ],
)
async def test_what_was_only_announced_goes_another_way(trouble: str, verdict: Verdict) -> None:
    answers = {"dot": ["250 2.0.0 ok", trouble, "250 2.0.0 ok"]}
    async with scripted(EHLO=PIPELINING, **answers) as server:
        told = await carried(server.port, mails(4), SHORT)
    assert (told[0], told[1].outcome, told[2:]) == (SENT, verdict.outcome, [SENT, SENT])
    assert told[1].detail in {verdict.detail, "ConnectionResetError"}
    assert [m[:1] for m in server.messages] == [b"1", b"2", b"3", b"4"]
    assert len(server.heard) == 2


async def test_nobody_waits_behind_a_message_that_the_server_thinks_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "_WAIT_SECONDS", 0.05)
    async with scripted(EHLO=PIPELINING, dot=[HANG, "250 2.0.0 ok"]) as server:
        transport = SmtpTransport(Server("127.0.0.1", server.port, Tls.NONE), 2)
        line = mails(3)
        slow = asyncio.create_task(transport.carry(line))
        async with asyncio.timeout(5):
            await line.was_put_back.wait()
        await transport.carry(line)
        assert line.verdicts == {2: SENT, 3: SENT}
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        await transport.close()


@pytest.mark.parametrize("last_words", [DROP, "421 4.7.0 enough for one connection"])
async def test_a_server_that_has_had_enough_costs_no_message(last_words: str) -> None:
    answers = {"MAIL": ["250 ok", "250 ok", last_words, "250 ok"]}
    async with scripted(EHLO=PIPELINING, **answers) as server:
        assert await carried(server.port, mails(4)) == [SENT] * 4
    assert len(server.heard) == 2


async def test_a_server_that_answers_and_hangs_up_has_answered() -> None:
    """What it did not read makes its kernel send a reset right behind its answer."""
    listening = socket.create_server(("127.0.0.1", 0))
    messages: list[bytes] = []

    def serve() -> None:
        for _ in range(3):
            with listening.accept()[0] as peer:
                heard = b""
                for answer, end in (
                    ("220 ready", b"EHLO"),
                    (PIPELINING, b"DATA\r\n"),
                    ("250 ok\r\n250 ok\r\n354 go on", b"\r\n.\r\n"),
                ):
                    peer.sendall(f"{answer}\r\n".encode())
                    heard = b""
                    while (
                        not (heard.startswith(end) and heard.endswith(b"\n")) and end not in heard
                    ):
                        heard += peer.recv(1)
                    while end == b"EHLO" and not heard.endswith(b"\r\n"):
                        heard += peer.recv(1)
                messages.append(heard)
                peer.sendall(b"250 2.0.0 queued\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert await carried(listening.getsockname()[1], mails(3)) == [SENT] * 3
    finally:
        await asyncio.to_thread(thread.join)
        listening.close()
    assert messages == [b"1\r\n.\r\n", b"2\r\n.\r\n", b"3\r\n.\r\n"]


@pytest.mark.parametrize("hello", [PIPELINING, "250 server"])
async def test_what_lapsed_while_the_server_thought_about_it_is_not_sent(hello: str) -> None:
    line = mails(3)
    line.lapsed.add(2)
    async with scripted(EHLO=hello) as server:
        assert await carried(server.port, line, SHORT) == [SENT, SENT]
    assert [m[:1] for m in server.messages] == [b"1", b"3"]
    assert sorted(line.verdicts) == [1, 3]


async def test_a_worn_connection_announces_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MESSAGES", 2)
    monkeypatch.setattr(connections, "MESSAGES", 2)
    async with scripted(EHLO=PIPELINING) as server:
        assert await carried(server.port, mails(5)) == [SENT] * 5
    assert [server.verbs(n).count("MAIL") for n in range(len(server.heard))] == [2, 2, 1]


async def test_what_a_server_cannot_take_or_nobody_may_send_holds_up_nothing() -> None:
    line = mails(4)
    line.waiting[1] = message(2, recipient="jörg@example.org")
    line.waiting[2] = message(3, content=b"a\n.\r\nMAIL")
    async with scripted(EHLO=PIPELINING) as server:
        told = await carried(server.port, line)
    assert [verdict.detail for verdict in told] == [
        *("250 2.0.0", "SmtpUtf8NotOffered", "UnsafeMessage", "250 2.0.0")
    ]
    assert server.verbs() == ["EHLO", *[*OPENING, "."] * 2, "QUIT"]


async def test_nobody_there_is_told_of_each_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    told = await carried(port, mails(2))
    assert told == [Verdict(Outcome.RETRY_TRANSPORT, "ConnectionRefusedError")] * 2


@pytest.mark.parametrize("hello", [PIPELINING, "250 server"])
async def test_an_answer_that_comes_before_the_message_is_not_the_answer_to_it(hello: str) -> None:
    answers = {"DATA": "354 go on\r\n250 2.0.0 early", "dot": "554 5.6.0 no"}
    async with scripted(EHLO=hello, **answers) as server:
        told = await carried(server.port, mails(2), SHORT)
    assert {verdict.outcome for verdict in told} <= {Outcome.RETRY_TRANSPORT, Outcome.UNKNOWN}
    assert Outcome.SENT not in {verdict.outcome for verdict in told}


async def test_a_reply_with_two_codes_is_none() -> None:
    async with scripted(EHLO=PIPELINING, dot="250-2.0.0 ok\r\n554 5.7.1 no") as server:
        [told] = await carried(server.port, mails(1), SHORT)
    assert told == Verdict(Outcome.UNKNOWN, "-1")


async def test_a_host_that_nobody_can_look_up_is_a_transport_that_fails() -> None:
    transport = SmtpTransport(Server("a..b", 25, Tls.NONE), 1, SHORT)
    line = mails(1)
    await transport.carry(line)
    assert line.verdicts[1].outcome is Outcome.RETRY_TRANSPORT

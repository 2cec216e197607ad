import resource
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from app.domain.retry import Outcome, Verdict
from app.mail.compose import compose
from app.mail.maildir import Mail, MaildirTransport, read, read_all
from tests.mail.letters import ACTION, AT, LETTER, LETTERHEAD, UNSUBSCRIBE, message

pytestmark = pytest.mark.anyio


@pytest.fixture
def transport(tmp_path: Path) -> MaildirTransport:
    return MaildirTransport(tmp_path / "deep" / "mail", 2)


async def test_a_mail_lies_in_new_as_it_was_composed(transport: MaildirTransport) -> None:
    sent = compose("confirm", LETTERHEAD).fill(LETTER)
    assert await transport.send(sent) == Verdict(Outcome.SENT)
    [file] = (transport.path / "new").iterdir()
    assert file.read_bytes() == sent.content
    assert list((transport.path / "tmp").iterdir()) == []


async def test_nobody_else_may_look_inside(transport: MaildirTransport) -> None:
    await transport.send(message())
    [file] = (transport.path / "new").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for folder in ("tmp", "new", "cur"):
        assert stat.S_IMODE((transport.path / folder).stat().st_mode) == 0o700


async def test_a_second_attempt_replaces_the_first(transport: MaildirTransport) -> None:
    await transport.send(message(7))
    await transport.send(message(7, content=b"Subject: again\r\n\r\n"))
    [mail] = read_all(transport.path)
    assert mail.subject == "again"


async def test_a_disk_that_refuses_is_tried_again_later(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("in the way")
    verdict = await MaildirTransport(tmp_path / "mail", 1).send(message())
    assert verdict == Verdict(Outcome.RETRY_TRANSPORT, "ENOTDIR")


async def test_a_file_that_cannot_be_finished_leaves_nothing_behind(
    transport: MaildirTransport,
) -> None:
    await transport.send(message(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        verdict = await transport.send(message(2, content=b"x" * 100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert verdict == Verdict(Outcome.RETRY_TRANSPORT, "EFBIG")
    assert list((transport.path / "tmp").iterdir()) == []
    assert len(read_all(transport.path)) == 1


async def test_the_mailbox_shows_what_was_sent(transport: MaildirTransport) -> None:
    letter = replace(LETTER, recipient="jürgen@example.org")
    sent = compose("confirm", replace(LETTERHEAD, name="Käse")).fill(letter)
    await transport.send(sent)
    [mail] = read_all(transport.path)
    assert mail.to == "jürgen@example.org"
    assert mail.subject == "Please confirm your subscription to Käse"
    assert mail.date == AT.replace(microsecond=0)
    assert f"\n{ACTION}\n" in mail.text
    assert f'href="{UNSUBSCRIBE}"' in mail.html
    assert mail.source == sent.content
    assert read(transport.path, mail.key) == mail


async def test_the_newest_mail_comes_first(transport: MaildirTransport) -> None:
    for number, age in ((9, 2), (10, 2), (3, 1)):
        await transport.send(
            replace(
                message(number, content=b"Subject: %d\r\n\r\n" % number),
                created_at=AT - timedelta(minutes=age),
            ),
        )
    assert [mail.subject for mail in read_all(transport.path)] == ["3", "10", "9"]
    assert [mail.subject for mail in read_all(transport.path, limit=1)] == ["3"]


async def test_a_mail_that_was_seen_by_a_mail_reader_is_still_found(
    transport: MaildirTransport,
) -> None:
    await transport.send(message())
    [mail] = read_all(transport.path)
    (transport.path / "new" / mail.key).rename(transport.path / "cur" / f"{mail.key}:2,S")
    assert read(transport.path, mail.key) == mail


@pytest.mark.parametrize("key", ["", ".", "..", "../secret", "/etc/passwd", "no\0pe", "%2e%2e"])
async def test_a_key_reaches_nothing_but_mails(transport: MaildirTransport, key: str) -> None:
    await transport.send(message())
    (transport.path / "secret").write_text("secret")
    assert read(transport.path, key) is None


async def test_a_folder_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert read_all(tmp_path / "none") == []
    assert read(tmp_path / "none", "x") is None


async def test_a_mail_of_another_program_is_shown_as_far_as_it_can_be_read(
    transport: MaildirTransport,
) -> None:
    await transport.send(message(content=b"Date: yesterday\r\n\r\nhello\r\n"))
    [mail] = read_all(transport.path)
    assert mail == Mail(mail.key, None, "", "", "hello\n", "", mail.source)
    await transport.close()

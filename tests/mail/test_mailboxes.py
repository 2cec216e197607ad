import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.mail.connections import Tls
from app.mail.mailboxes.imap import Account, open_imap
from app.mail.mailboxes.maildir import MaildirMailbox
from app.mail.mailboxes.unread import OCTETS, Mailbox, MailboxUnusable
from app.mail.mailboxes.urls import open_mailbox
from tests.mail.conftest import Certificate
from tests.mail.dovecot import PASSWORD, Dovecot
from tests.mail.servers import free_port

SECRET = "s3cret"  # noqa: S105
MAILS = [f"Subject: {number}\r\n\r\nbody {number}\r\n".encode() for number in range(3)]


def contents(mailbox: Mailbox) -> list[bytes]:
    return [mail.content for mail in mailbox.unread()]


def keys(mailbox: Mailbox) -> list[str]:
    return [mail.key for mail in mailbox.unread()]


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("tmp", "new", "cur"):
        (tmp_path / name).mkdir()
    for number, mail in enumerate(MAILS):
        (tmp_path / "new" / f"{number}.host").write_bytes(mail)
    return tmp_path


def test_what_is_new_in_a_maildir_is_read_and_stays_new(folder: Path) -> None:
    (folder / "cur" / "9.host:2,S").write_bytes(b"read already")
    (folder / "new" / ".hidden").write_bytes(b"not a mail")
    (folder / "new" / "folder").mkdir()
    with open_mailbox(f"maildir://{folder}") as mailbox:
        assert sorted(contents(mailbox)) == MAILS
        assert sorted(contents(mailbox)) == MAILS


def test_a_mail_that_was_marked_moves_to_cur_as_seen(folder: Path) -> None:
    mailbox = MaildirMailbox(folder)
    (folder / "new" / "3.host:2,").write_bytes(b"flags")
    mailbox.mark(["0.host", "3.host:2,", "taken-by-somebody-else"])
    assert sorted(keys(mailbox)) == ["1.host", "2.host"]
    assert names(folder / "cur") == ["0.host:2,S", "3.host:2,S"]
    assert (folder / "cur" / "0.host:2,S").read_bytes() == MAILS[0]


def test_a_maildir_that_nobody_has_opened_yet_gets_its_cur(folder: Path) -> None:
    (folder / "cur").rmdir()
    MaildirMailbox(folder).mark(["0.host"])
    assert names(folder / "cur") == ["0.host:2,S"]


def test_marking_while_reading_leaves_out_nothing(folder: Path) -> None:
    mailbox, read = MaildirMailbox(folder), []
    for number in range(500):
        (folder / "new" / f"more{number}").write_bytes(b"x")
    for mail in mailbox.unread():
        read.append(mail.key)
        mailbox.mark([mail.key])
    assert len(read) == len(set(read)) == 503
    assert keys(mailbox) == []


def test_only_the_beginning_of_a_huge_mail_is_read(folder: Path) -> None:
    (folder / "new" / "0.host").write_bytes(b"x" * 20_000_000)
    assert {len(content) for content in contents(MaildirMailbox(folder))} == {OCTETS, 22}


def test_what_is_no_maildir_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(MailboxUnusable, match="no Maildir"):
            contents(MaildirMailbox(path))


def test_unseen_mail_of_an_imap_server_is_read_and_stays_unseen(imap: Dovecot) -> None:
    user = next(imap.users)
    imap.deliver(user, *MAILS)
    with open_mailbox(imap.url(user)) as mailbox:
        assert contents(mailbox) == MAILS
        assert contents(mailbox) == MAILS
    assert imap.seen(user) == [False] * 3


def test_a_mail_that_was_marked_is_seen_and_not_read_again(imap: Dovecot) -> None:
    user = next(imap.users)
    imap.deliver(user, *MAILS)
    with open_mailbox(imap.url(user)) as mailbox:
        first, _, last = keys(mailbox)
        mailbox.mark([first, last])
        mailbox.mark([])
        assert contents(mailbox) == [MAILS[1]]
    assert imap.seen(user) == [True, False, True]


def test_an_empty_mailbox_is_read_too(imap: Dovecot) -> None:
    with open_mailbox(imap.url(next(imap.users))) as mailbox:
        assert contents(mailbox) == []


def test_another_mailbox_than_the_inbox_can_be_named(imap: Dovecot) -> None:
    user = next(imap.users)
    imap.deliver(user, MAILS[0], mailbox='"Returned mail"')
    with open_mailbox(imap.url(user, "Returned%20mail")) as mailbox:
        assert contents(mailbox) == [MAILS[0]]
    with open_mailbox(imap.url(user)) as mailbox:
        assert contents(mailbox) == []


def test_only_the_beginning_of_a_huge_mail_is_fetched(imap: Dovecot) -> None:
    user = next(imap.users)
    imap.deliver(user, b"Subject: big\r\n\r\n" + (b"x" * 70 + b"\r\n") * 20_000)
    with open_mailbox(imap.url(user)) as mailbox:
        assert [len(content) for content in contents(mailbox)] == [OCTETS]


def test_a_mail_that_goes_meanwhile_is_left_out(imap: Dovecot) -> None:
    user = next(imap.users)
    imap.deliver(user, *MAILS)
    with open_mailbox(imap.url(user)) as mailbox, open_mailbox(imap.url(user)) as other:
        unread = mailbox.unread()
        assert next(unread).content == MAILS[0]
        client = other.client  # type: ignore[attr-defined] # of another mail reader
        client.store("2", "+FLAGS", r"(\Deleted)")
        client.expunge()
        assert [mail.content for mail in unread] == [MAILS[2]]


def test_imaps_is_encrypted_and_verified(imap: Dovecot, certificate: Certificate) -> None:
    user = next(imap.users)
    imap.deliver(user, *MAILS)
    with open_mailbox(imap.tls_url(user), certificate.client) as mailbox:
        assert contents(mailbox) == MAILS
    with (
        pytest.raises(MailboxUnusable, match="certificate"),
        open_mailbox(imap.tls_url(user)),
    ):
        pass


def test_starttls_encrypts_before_anything_is_said(imap: Dovecot, certificate: Certificate) -> None:
    user = next(imap.users)
    account = Account("localhost", imap.port, Tls.STARTTLS, user, PASSWORD)
    with open_imap(account, certificate.client) as mailbox:
        assert isinstance(mailbox.client.sock, ssl.SSLSocket)
        assert contents(mailbox) == []
    with pytest.raises(MailboxUnusable, match="certificate"), open_imap(account):
        pass


def refused(url: str) -> str:
    """Return the sentence that refuses a URL: without its password, and in one line."""
    with pytest.raises(ValueError, match=r"\A[A-Z].*\.\Z") as error, open_mailbox(url):
        pass
    said = str(error.value)
    assert SECRET not in said
    assert PASSWORD not in said
    assert "\n" not in said
    return said


def test_a_wrong_password_a_wrong_mailbox_and_no_server_are_told_apart(imap: Dovecot) -> None:
    user = next(imap.users)
    assert "user name and password" in refused(f"imap://{user}:{SECRET}@127.0.0.1:{imap.port}")
    assert "no such mailbox" in refused(imap.url(user, "Nowhere"))
    assert "no such mailbox" in refused(imap.url(user, "a%22%20%22b"))
    assert "cannot be reached" in refused(f"imap://{user}:{SECRET}@127.0.0.1:{free_port()}")
    assert "cannot be reached" in refused(f"imaps://{user}:{SECRET}@127.0.0.1:{imap.port}")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "must begin with"),
        (f"pop3://me:{SECRET}@mail.example.org", "must begin with"),
        (f"smtp://me:{SECRET}@mail.example.org", "must begin with"),
        ("maildir:", "no path"),
        ("maildir:///", "no path"),
        ("maildir:///a%00b", "no path"),
        ("maildir://host/path", "Write maildir:///"),
        ("maildir:///path?a=b", "no parameters"),
        (f"imaps://me:{SECRET}@", "host name"),
        (f"imaps://me:{SECRET}@mail example.org", "host name"),
        (f"imaps://me:{SECRET}@mail.example.org:0", "port"),
        (f"imaps://me:{SECRET}@mail.example.org:port", "port"),
        (f"imaps://me:pw/{SECRET}@mail.example.org", "port"),
        (f"imaps://me:{SECRET}@mail.example.org/INBOX?tls=no", "no parameters"),
        (f"imaps://me:{SECRET}@mail.example.org/INBOX#new", "no parameters"),
        (f"imaps://me:{SECRET}@mail.example.org/Entw%C3%BCrfe", "modified UTF-7"),
        (f"imaps://me:{SECRET}@mail.example.org/a%0D%0Ab", "modified UTF-7"),
        ("imaps://mail.example.org", "user name and a password"),
        ("imaps://me@mail.example.org", "user name and a password"),
        (f"imaps://:{SECRET}@mail.example.org", "user name and a password"),
        (f"imaps://me:{SECRET}%0D%0A@mail.example.org", "user name and a password"),
        (f"imaps://me:{SECRET}%00@mail.example.org", "user name and a password"),
    ],
)
def test_a_url_that_names_no_mailbox_is_refused(url: str, said: str) -> None:
    assert said in refused(url)


@contextlib.contextmanager
def saying(*answers: str) -> Iterator[int]:
    """Run a server that says this, line by line; `%` stands for the tag of the last command."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        connection.settimeout(10)
        with connection, connection.makefile("rwb") as stream, contextlib.suppress(OSError):
            tag = b""
            for answer in answers:
                stream.write(answer.encode().replace(b"%", tag) + b"\r\n")
                stream.flush()
                line = stream.readline()
                tag = line.split(b" ")[0]

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        thread.join()
        listening.close()


CAPABLE = "* CAPABILITY IMAP4rev1\r\n% OK done"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (["220 mail.example.org ESMTP"], "speaks no IMAP"),
        (["* BYE too busy"], "speaks no IMAP"),
        (["* OK hello"], "speaks no IMAP"),
        (["* OK hello", CAPABLE, f"% NO not {SECRET}"], "user name and password"),
        (["* OK hello", CAPABLE], "speaks no IMAP"),
        (["* OK hello", CAPABLE, "% OK done", "* 1 EXISTS\r\n% OK [READ-ONLY] ok"], "not mark"),
        (["* OK hello", CAPABLE, "% OK done", "* 1 EXISTS\r\n% OK [READ-WRITE] ok"], "UIDNEXT"),
    ],
)
def test_a_server_that_says_odd_things_is_told_in_one_sentence(
    answers: list[str], said: str
) -> None:
    with saying(*answers) as port:
        assert said in refused(f"imap://me:{SECRET}@127.0.0.1:{port}")


def test_without_starttls_no_password_is_sent_in_clear() -> None:
    with saying("* OK hello", CAPABLE, "% OK done") as port:
        account = Account("127.0.0.1", port, Tls.STARTTLS, "me", SECRET)
        with pytest.raises(MailboxUnusable, match="STARTTLS"), open_imap(account):
            pass


def test_a_password_that_the_server_cannot_take_is_not_sent() -> None:
    with saying("* OK hello", CAPABLE, "% OK done") as port:
        assert "ASCII" in refused(f"imap://me:pw%C3%BC@127.0.0.1:{port}")


def test_an_account_does_not_show_its_password() -> None:
    account = Account("mail.example.org", 993, Tls.IMPLICIT, "me", SECRET)
    assert not re.search(SECRET, repr(account))

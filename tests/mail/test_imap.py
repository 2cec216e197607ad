import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from imaplib import IMAP4
from typing import Any, cast

import pytest

from app.mail.connections import Tls
from app.mail.mailboxes.imap import Account, ImapMailbox, open_imap
from app.mail.mailboxes.unread import OCTETS, MailboxUnusable
from app.mail.mailboxes.urls import open_mailbox
from tests.mail.conftest import Certificate
from tests.mail.dovecot import PASSWORD, Dovecot
from tests.mail.servers import free_port
from tests.mail.test_mailboxes import MAILS, SECRET, contents, keys, refused


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


def test_a_wrong_password_a_wrong_mailbox_and_no_server_are_told_apart(imap: Dovecot) -> None:
    user = next(imap.users)
    assert "user name and password" in refused(f"imap://{user}:{SECRET}@127.0.0.1:{imap.port}")
    assert "no such mailbox" in refused(imap.url(user, "Nowhere"))
    assert "no such mailbox" in refused(imap.url(user, "a%22%20%22b"))
    assert "cannot be reached" in refused(f"imap://{user}:{SECRET}@127.0.0.1:{free_port()}")
    assert "cannot be reached" in refused(f"imaps://{user}:{SECRET}@127.0.0.1:{imap.port}")


class Corrupted:
    """A client of a server that cannot give one of its mails, and has an empty one."""

    def uid(self, command: str, *arguments: str) -> tuple[str, list[Any]]:
        if command == "SEARCH":
            return "OK", [b"1 2 3"]
        if arguments[0] == "1":
            return "NO", [b"[SERVERBUG] Internal error occurred"]
        if arguments[0] == "2":
            return "OK", [b'2 (UID 2 BODY[]<0> "")']
        return "OK", [(b"3 (UID 3 BODY[]<0> {5}", b"third"), b")"]


def test_a_mail_that_the_server_cannot_give_stops_nothing() -> None:
    mailbox = ImapMailbox(cast("IMAP4", Corrupted()), 3)
    assert [(mail.key, mail.content) for mail in mailbox.unread()] == [("2", b""), ("3", b"third")]


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

from pathlib import Path

import pytest

from app.mail.connections import Server, Tls
from app.mail.maildir import MaildirTransport
from app.mail.smtp import SmtpTransport
from app.mail.transport import Transport, open_transport


def server(url: str) -> Server:
    transport = open_transport(url, 3)
    assert isinstance(transport, SmtpTransport)
    return transport.server


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("maildir:///var/mail/out", "/var/mail/out"),
        ("maildir:/var/mail/out", "/var/mail/out"),
        ("maildir:var/mail", "var/mail"),
        ("MAILDIR:var/my%20mail", "var/my mail"),
    ],
)
def test_a_maildir_is_named_by_its_path(url: str, path: str) -> None:
    transport = open_transport(url, 3)
    assert isinstance(transport, MaildirTransport)
    assert transport.path == Path(path)
    assert (transport.name, transport.connections) == ("maildir", 3)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.org", Server("mail.example.org", 587, Tls.STARTTLS)),
        ("smtp://mail.example.org:25", Server("mail.example.org", 25, Tls.STARTTLS)),
        ("smtp://mail.example.org?starttls=no", Server("mail.example.org", 25, Tls.NONE)),
        ("smtps://mail.example.org/", Server("mail.example.org", 465, Tls.IMPLICIT)),
        ("smtp://localhost:1025", Server("localhost", 1025, Tls.NONE)),
        ("smtp://127.0.0.1", Server("127.0.0.1", 25, Tls.NONE)),
        ("smtp://[::1]:1025", Server("::1", 1025, Tls.NONE)),
        ("smtp://localhost?starttls=yes", Server("localhost", 587, Tls.STARTTLS)),
        ("smtp://10.0.0.5", Server("10.0.0.5", 587, Tls.STARTTLS)),
        ("smtp://localhost.example.org", Server("localhost.example.org", 587, Tls.STARTTLS)),
        ("smtp://me:p%40ss@localhost", Server("localhost", 25, Tls.NONE, "me", "p@ss")),
        (
            "smtps://me%40x.org:a%2Fb@mail.example.org",
            Server("mail.example.org", 465, Tls.IMPLICIT, "me@x.org", "a/b"),
        ),
    ],
)
def test_an_smtp_url_names_server_encryption_and_login(url: str, expected: Server) -> None:
    assert server(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.org",
        "http://mail.example.org",
        "smtp:",
        "smtp://",
        "smtp://:25",
        "smtp://user:s3cret@",
        "smtp://user:s3cret@:25",
        "smtp://mail.example.org:port",
        "smtp://mail.example.org:0",
        "smtp://mail.example.org:99999",
        "smtp://mail.example.org:-1",
        "smtp://user:s3cret#x@mail.example.org",
        "smtp://user:s3cret/x@mail.example.org",
        "smtp://user:s3cret?x@mail.example.org",
        "smtp://user:s3cret[@mail.example.org",
        "smtp://user:s3cret@mail example.org",
        "smtp://user:s3cret@mail.example.org?starttls=maybe",
        "smtp://user:s3cret@mail.example.org?tls=yes",
        "smtp://user:s3cret@mail.example.org?starttls=yes&starttls=no",
        "smtp://user:s3cret@mail.example.org?starttls=no",
        "smtp://user:s3cret@mail.example.org/path",
        "smtp://user:s3cret@mail.example.org#part",
        "smtps://user:s3cret@mail.example.org?starttls=yes",
        "smtp://s3cret@mail.example.org",
        "maildir:",
        "maildir://",
        "maildir:///",
        "maildir://relative/path",
        "maildir:path?fsync=no",
        "maildir:path#x",
    ],
)
def test_a_bad_url_is_one_sentence_without_the_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as raised:
        open_transport(url, 1)
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert "s3cret" not in str(raised.value.__context__ or "") or raised.value.__suppress_context__


def test_at_least_one_connection_is_needed() -> None:
    with pytest.raises(ValueError, match="connection"):
        open_transport("maildir:x", 0)


def test_the_password_is_not_shown_by_accident() -> None:
    assert "s3cret" not in repr(server("smtps://user:s3cret@mail.example.org"))


def test_every_transport_keeps_the_protocol() -> None:
    urls = ("maildir:x", "smtp://localhost")
    transports: list[Transport] = [open_transport(url, 2) for url in urls]
    assert [(t.name, t.connections) for t in transports] == [("maildir", 2), ("smtp", 2)]

from pathlib import Path

import pytest

from app.mail.connections import Server, Tls
from app.mail.maildir import MaildirTransport
from app.mail.providers import mailgun, postmark, ses
from app.mail.providers.mailgun import MailgunTransport
from app.mail.providers.postmark import PostmarkTransport
from app.mail.providers.ses import SesTransport
from app.mail.providers.sigv4 import Credentials
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


def account(url: str) -> object:
    transport = open_transport(url, 3)
    assert isinstance(transport, PostmarkTransport | SesTransport | MailgunTransport)
    return transport.account


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postmark://AbC-123", postmark.Account("AbC-123", "outbound")),
        ("postmark://a%2Fb%40c/", postmark.Account("a/b@c", "outbound")),
        ("POSTMARK://AbC?stream=weekly_News-2", postmark.Account("AbC", "weekly_News-2")),
        (
            "ses://AKID:se%2Fcr+et@eu-west-1",
            ses.Account(Credentials("AKID", "se/cr+et"), "eu-west-1"),
        ),
        (
            "ses://AKID:secret@us-gov-west-1?session_token=a+b/c==%2B",
            ses.Account(Credentials("AKID", "secret", "a+b/c==+"), "us-gov-west-1"),
        ),
        (
            "mailgun://key-1%3A@MG.example.org",
            mailgun.Account("key-1:", "mg.example.org", "api.mailgun.net"),
        ),
        (
            "mailgun://key-1@mg.example.org?region=us",
            mailgun.Account("key-1", "mg.example.org", "api.mailgun.net"),
        ),
        (
            "mailgun://key-1@mg.example.org/?region=eu",
            mailgun.Account("key-1", "mg.example.org", "api.eu.mailgun.net"),
        ),
    ],
)
def test_a_providers_url_names_the_account(url: str, expected: object) -> None:
    assert account(url) == expected


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
        "smtp://a..b",
        "smtp://.",
        f"smtp://{'a' * 64}.example.org",
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
        "postmark:",
        "postmark:s3cret",
        "postmark://",
        "postmark://?stream=s3cret",
        "postmark://s3cret@",
        "postmark://s3cret@api.postmarkapp.com",
        "postmark://s3cret:443",
        "postmark://s3cret:more",
        "postmark://s3cret/more",
        "postmark://s3cret%20more",
        "postmark://s3cret%0d%0aX-Evil:1",
        "postmark://s3cr\u00e9t-s3cret",
        "postmark://s3cret?stream=",
        "postmark://s3cret?stream=a%20b",
        "postmark://s3cret?stream=a&stream=b",
        "postmark://s3cret?endpoint=https://example.net",
        "ses://",
        "ses://eu-west-1",
        "ses://s3cret@eu-west-1",
        "ses://s3cret:@eu-west-1",
        "ses://:s3cret@eu-west-1",
        "ses://AKID:s3cret@",
        "ses://AKID:s3cret",
        "ses://AKID:s3cret/x@eu-west-1",
        "ses://AKID:s3cret@ireland",
        "ses://AKID:s3cret@eu-west-1.amazonaws.com",
        "ses://AKID:s3cret@eu-west-1:443",
        "ses://AKID:s3cret@eu-west-1?session_token=",
        "ses://AKID:s3cret@eu-west-1?session_token=s3cret%0a",
        "ses://AKID:s3cret@eu-west-1?region=eu-west-2",
        "mailgun://",
        "mailgun://mg.example.org",
        "mailgun://s3cret@",
        "mailgun://@mg.example.org",
        "mailgun://api:s3cret@mg.example.org",
        "mailgun://s3cret@localhost",
        "mailgun://s3cret@mg..org",
        "mailgun://s3cret@mg.example.org:443",
        "mailgun://s3cret@mg.example.org/v3",
        "mailgun://s3cret@mg.example.org?region=asia",
        "mailgun://s3cret@mg.example.org?region=EU&x=y",
        "sendgrid://s3cret",
    ],
)
def test_a_bad_url_is_one_sentence_without_the_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as raised:
        open_transport(url, 1)
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert "s3cret" not in str(raised.value.__context__ or "") or raised.value.__suppress_context__


@pytest.mark.parametrize("url", ["", "sendgrid://s3cret", "s3cret"])
def test_an_unknown_scheme_is_told_all_that_there_are(url: str) -> None:
    expected = "maildir:, smtp://, smtps://, postmark://, ses:// or mailgun://."
    with pytest.raises(ValueError, match=expected):
        open_transport(url, 1)


def test_at_least_one_connection_is_needed() -> None:
    with pytest.raises(ValueError, match="connection"):
        open_transport("maildir:x", 0)


def test_the_password_is_not_shown_by_accident() -> None:
    assert "s3cret" not in repr(server("smtps://user:s3cret@mail.example.org"))
    for url in (
        "postmark://s3cret",
        "ses://AKID:s3cret@eu-west-1?session_token=s3cret",
        "mailgun://s3cret@mg.example.org",
    ):
        assert "s3cret" not in repr(account(url))


def test_every_transport_keeps_the_protocol() -> None:
    urls = {
        "maildir:x": ("maildir", 2),
        "smtp://localhost": ("smtp", 2),
        "postmark://token": ("postmark", 100),
        "ses://key:secret@eu-west-1": ("ses", 2),
        "mailgun://key@mg.example.org": ("mailgun", 2),
    }
    transports: list[Transport] = [open_transport(url, 2) for url in urls]
    assert [(t.name, t.connections) for t in transports] == list(urls.values())

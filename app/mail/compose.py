"""Letterhead and letter become a message: rendered once, then only bytes are joined.

Rendering a mail and folding its headers takes milliseconds. So a kind of mail is rendered once
per letterhead with places for what differs, and `Template.fill` joins bytes around these values.
"""

import functools
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateNotFound,
    select_autoescape,
)

from app.languages.catalogs import ENGLISH, Language, translations
from app.mail import encodings, guards
from app.mail.guards import ComposeError
from app.mail.message import Message
from app.mail.proofs import prove

__all__ = ["ComposeError", "Letter", "Letterhead", "Template", "compose"]

_PERSONAL = {"preferences_link"}
"""Kinds of mail that are no part of a newsletter."""


@functools.cache
def _environment(language: Language) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(("html",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined] # the extension adds it
    environment.globals["language"] = language
    return environment


@dataclass(frozen=True, slots=True)
class Letterhead:
    """What all mails of a newsletter share; `host` is the host of BASE_URL.

    `locale` is for people whose own is not known.
    """

    slug: str
    name: str
    from_address: str
    from_name: str | None
    reply_to: str | None
    pitch: str
    promise: str
    postal_address: str | None
    locale: str
    host: str


@dataclass(frozen=True, slots=True)
class Letter:
    """What is different for each recipient.

    `id` and `created_at` are the outbox row's. `recipient` is as typed. `action_url` is where
    the button leads, for kinds that have one. `return_path` is where bounces go, if not to the
    sender.
    """

    id: int
    created_at: datetime
    recipient: str
    action_url: str | None
    unsubscribe_url: str
    return_path: str | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of mail of one newsletter: pieces of bytes, with a named value between each two.

    `pieces` holds each value's name, which is in `places` too, where the value will be.
    """

    sender: str
    host: str
    pieces: tuple[bytes, ...]
    places: tuple[bytes, ...]

    def fill(self, letter: Letter) -> Message:
        """Return the message for one recipient; the same letter gives the same bytes.

        Raises ComposeError if the address, a URL or the time is not safe to put in a mail.
        """
        created_at = guards.moment(letter.created_at)
        date, stamp = _written(created_at.replace(microsecond=0))
        recipient = guards.address(letter.recipient, "recipient")
        values = {
            b"to": recipient.encode(),
            b"date": date,
            b"message_id": f"{letter.id}.{stamp}{created_at.microsecond:06}@{self.host}".encode(),
            **_links("unsubscribe", letter.unsubscribe_url),
            **_links("action", letter.action_url),
        }
        sender = letter.return_path or self.sender
        content = self._join(values)  # its pieces were proved, and the guards let no break through
        return Message(letter.id, created_at, sender, recipient, content, is_clean=True)

    def _join(self, values: dict[bytes, bytes]) -> bytes:
        joined = list(self.pieces)
        try:
            joined[1::2] = [values[place] for place in self.places]
        except KeyError as error:
            raise ComposeError("action_url: this kind of mail needs one.") from error
        return b"".join(joined)


@functools.lru_cache(maxsize=256)
def _written(second: datetime) -> tuple[bytes, str]:
    """Return a second for the Date header and for the Message-ID; a bulk of mail shares it."""
    return format_datetime(second).encode("ascii"), f"{second:%Y%m%d%H%M%S}"


def _links(name: str, value: str | None) -> dict[bytes, bytes]:
    """Return one URL in the three forms that it takes: in a header, in text and in HTML."""
    if value is None:
        return {}
    raw = guards.url(value, f"{name}_url")
    key = name.encode("ascii")
    escaped = raw.replace(b"&", b"&amp;").replace(b"'", b"&#39;")
    text = encodings.soft(raw)
    html = text if escaped == raw else encodings.soft(escaped)
    return {key: raw, key + b"_text": text, key + b"_html": html}


@functools.lru_cache(maxsize=256)
def compose(kind: str, letterhead: Letterhead, language: Language = ENGLISH) -> Template:
    """Return the template of one kind of mail; the second time it comes from a cache.

    Raises ComposeError for an unknown kind, or a letterhead whose texts cannot be trusted.
    """
    safe = _checked(letterhead)
    render = functools.partial(_render, _environment(language), kind, safe)
    subject = guards.line(render("subject.txt"), "subject", 300)
    text = encodings.quoted_printable(render("body.txt"))
    html = encodings.quoted_printable(render("body.html", subject))
    fields, body = _fields(safe, subject, kind), _alternative(text, html)
    parts = encodings.PLACE.split(b"".join(fields) + body)
    template = Template(safe.from_address, safe.host, tuple(parts), tuple(parts[1::2]))
    names = [field.partition(b":")[0].decode("ascii") for field in fields]
    prove(template.fill(_SAMPLE).content, [*names, "Content-Type"], _SAMPLE_LINKS)
    return template


_SAMPLE_LINKS = ("https://a.example/" + "a=." * 99 + "?b&c='", "https://a.example/" + "u=." * 99)
_SAMPLE = Letter(1, datetime(2000, 1, 1, tzinfo=UTC), "a.b+c@d.example", *_SAMPLE_LINKS)


def _checked(letterhead: Letterhead) -> Letterhead:
    from_name, reply_to = letterhead.from_name, letterhead.reply_to
    return Letterhead(
        slug=guards.label(letterhead.slug, "slug"),
        name=guards.line(letterhead.name, "name"),
        from_address=guards.address(letterhead.from_address, "from_address"),
        from_name=guards.line(from_name, "from_name") if from_name else None,
        reply_to=guards.address(reply_to, "reply_to") if reply_to else None,
        pitch=guards.paragraph(letterhead.pitch, "pitch"),
        promise=guards.paragraph(letterhead.promise, "promise"),
        postal_address=guards.paragraph(letterhead.postal_address or "", "postal_address") or None,
        locale=letterhead.locale,
        host=guards.host(letterhead.host),
    )


def _render(
    environment: Environment, kind: str, letterhead: Letterhead, part: str, subject: str = ""
) -> str:
    try:
        template = environment.get_template(f"{kind}/{part}")
    except TemplateNotFound as error:
        raise ComposeError("kind: there is no such mail.") from error
    form = part.rpartition(".")[2].replace("txt", "text")
    return template.render(
        letterhead=letterhead,
        subject=subject,
        action_url=encodings.place(f"action_{form}"),
        unsubscribe_url=encodings.place(f"unsubscribe_{form}"),
    )


def _fields(letterhead: Letterhead, subject: str, kind: str) -> list[bytes]:
    """Return the header fields but for the last, Content-Type, which the body brings.

    Mail to one person about more than one newsletter belongs to no list.
    """
    phrase = letterhead.from_name or letterhead.name
    reply_to = letterhead.reply_to
    return [
        encodings.mailbox("From", phrase, letterhead.from_address),
        b"To: \0to\0\r\n",
        encodings.unstructured("Subject", subject),
        b"Date: \0date\0\r\n",
        b"Message-ID: <\0message_id\0>\r\n",
        *([encodings.mailbox("Reply-To", None, reply_to)] if reply_to else []),
        b"Auto-Submitted: auto-generated\r\n",
        *([] if kind in _PERSONAL else _list_fields(letterhead)),
        b"MIME-Version: 1.0\r\n",
    ]


def _list_fields(letterhead: Letterhead) -> list[bytes]:
    return [
        f"List-Id: <{letterhead.slug}.{letterhead.host}>\r\n".encode("ascii"),
        b"List-Unsubscribe: <\0unsubscribe\0>\r\n",
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
    ]


def _alternative(text: bytes, html: bytes) -> bytes:
    """Return Content-Type and both bodies; `=_` cannot occur in quoted-printable."""
    boundary = b"=_" + hashlib.sha256(text + html).hexdigest()[:24].encode("ascii")
    opening = b"\r\n--%b\r\nContent-Type: text/%b; charset=utf-8\r\n"
    encoding = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    return b"".join(
        (
            b'Content-Type: multipart/alternative;\r\n boundary="%b"\r\n' % boundary,
            opening % (boundary, b"plain") + encoding + text,
            opening % (boundary, b"html") + encoding + html,
            b"\r\n--%b--\r\n" % boundary,
        ),
    )

"""What mail servers report by mail: bounces (RFC 3464) and complaints (RFC 5965).

Only what is made for machines is read: codes, types and our own marks, never a sentence.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256

from app.domain.feedback import Happened
from app.domain.retry import Outcome
from app.mail.feedback import judgements
from app.mail.feedback.judgements import Reply
from app.mail.feedback.parts import Part, direct_parts, fields_of, take
from app.mail.replies import Phase, classify

_RECIPIENTS = ("delivered-to", "x-original-to", "envelope-to", "to")
_STATUS = {"message/delivery-status", "message/global-delivery-status"}
_COMPLAINT = "message/feedback-report"
_ORIGINAL = {
    *("message/rfc822", "message/global"),
    *("text/rfc822-headers", "message/global-headers"),
}
_MOST_FATES = 20

_ACTIONS = {
    "delayed": Happened.DEFERRED,
    "delivered": Happened.DELIVERED,
    "relayed": Happened.ACCEPTED,
    "expanded": Happened.ACCEPTED,
}
_COMPLAINTS = {
    "abuse": Happened.COMPLAINT,
    "fraud": Happened.COMPLAINT,
    "virus": Happened.COMPLAINT,
    "opt-out": Happened.UNSUBSCRIBED,
}

_CODE = re.compile(r"([245])\.\d{1,3}\.\d{1,3}(?!\d)")
_REPLY = re.compile(r"smtp\s*;\s*([245]\d\d)(?!\d)[ -]*([^\n]*)", re.IGNORECASE)
_WORD = re.compile(r"[a-z-]{1,20}")
_NO_MAILBOX = {"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"}
_MAILBOX_FULL = "5.2.2"
_UNSPECIFIC = {"", "5.0.0", "5.5.0"}

_KINDS = {
    Outcome.REFUSED: Happened.HARD_BOUNCE,
    Outcome.RETRY_RECIPIENT: Happened.SOFT_BOUNCE,
    Outcome.RETRY_TRANSPORT: Happened.SOFT_BOUNCE,
}


@dataclass(frozen=True, slots=True)
class Fate:
    """What a mail says of one recipient; `detail` is the codes or the type that say so.

    `recipient` is told if there are several: each of our mails has one, but that may be an alias.
    """

    kind: Happened
    detail: str
    recipient: str | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """One mail, read: `fates` is empty if it is no report.

    `key` is the same whenever this mail is read. `addresses` may hold the return path of our
    mail; `message_id` and `unsubscribe` are those of the mail that was returned, if it was.
    """

    key: str
    at: datetime | None
    addresses: tuple[str, ...] = ()
    fates: tuple[Fate, ...] = ()
    message_id: str = ""
    unsubscribe: str = ""


def read(content: bytes) -> Returned:
    """Read one mail; it may be cut short, broken, or anything else."""
    mail = take(content)
    message_id = mail.first("message-id").encode()
    key, at = sha256(message_id or content).hexdigest(), _time(mail.first("date"))
    parts = direct_parts(mail) if mail.content_type == "multipart/report" else []
    fates = [fate for part in parts for fate in _fates(part)][:_MOST_FATES]
    if not fates:
        return Returned(key, at)
    original = next((_original(part) for part in parts if part.content_type in _ORIGINAL), None)
    return Returned(
        key=key,
        at=at,
        addresses=_addresses(mail, parts, original),
        fates=tuple(fates),
        message_id=original.first("message-id") if original else "",
        unsubscribe=original.first("list-unsubscribe") if original else "",
    )


def _original(part: Part) -> Part:
    return take(part.decoded)


def _addresses(mail: Part, parts: list[Part], original: Part | None) -> tuple[str, ...]:
    """Return where our return path may stand: it is signed, so the place does not matter."""
    found = [value for name in _RECIPIENTS for value in mail.fields.get(name, [])]
    for part in parts:
        if part.content_type == _COMPLAINT:
            found += fields_of(part.decoded).get("original-mail-from", [])
    return (*found, original.first("return-path")) if original else tuple(found)


def _fates(part: Part) -> list[Fate]:
    if part.content_type == _COMPLAINT:
        kind = fields_of(part.decoded).get("feedback-type", [""])[0].lower()
        word = kind if _WORD.fullmatch(kind) else ""
        return [Fate(_COMPLAINTS.get(word, Happened.UNKNOWN), word)]
    if part.content_type in _STATUS:
        groups = re.split(rb"\n[ \t]*\n", part.decoded, maxsplit=_MOST_FATES)
        recipients = [Part(fields_of(group), b"") for group in groups]
        told = [group for group in recipients if group.first("action")]
        if len(told) == 1:  # it may have been forwarded, and so bear another address
            return [_fate(told[0])]
        return [replace(_fate(group), recipient=_recipient(group)) for group in told]
    return []


def _recipient(group: Part) -> str:
    """Return whom a group of fields is about, as the sender wrote the address if that is told."""
    named = group.first("original-recipient") or group.first("final-recipient")
    return named.rpartition(";")[2].strip()


def _fate(group: Part) -> Fate:
    """Judge one recipient of a bounce (RFC 3464 2.3)."""
    action = group.first("action").lower()
    found = _CODE.match(group.first("status"))
    status = found[0] if found else ""
    if action.startswith("failed"):
        return _failed(status, group.first("diagnostic-code"))
    word = _WORD.match(action)
    return Fate(_ACTIONS.get(word[0] if word else "", Happened.UNKNOWN), status)


def _failed(status: str, diagnostic: str) -> Fate:
    """Judge a failure by its status (RFC 3463), and by the server's reply if that says nothing."""
    reply = _REPLY.match(diagnostic)
    if status in _UNSPECIFIC and reply:
        return _replied(int(reply[1]), reply[2])
    if status in _NO_MAILBOX:
        return Fate(Happened.HARD_BOUNCE, status)
    said = judgements.reply(reply[0] if reply else "")
    if judgements.is_held_against_us(said) or judgements.is_held_against_us(Reply(None, status)):
        return Fate(Happened.FAILED, status)
    if status == _MAILBOX_FULL or status.startswith("4."):
        return Fate(Happened.SOFT_BOUNCE, status)
    # Policy, content, routing, our own server: never the subscriber's fault.
    return Fate(Happened.UNKNOWN if status.startswith("2.") else Happened.FAILED, status)


def _replied(code: int, text: str) -> Fate:
    """Judge a reply of which it is not known whether it was to RCPT or to the message.

    A bare 550 is no mailbox in the one case and no welcome for the text in the other. Where it
    makes such a difference the failure counts as a soft bounce: only several in a row suppress.
    """
    said = judgements.reply(f"{code} {text}")
    if judgements.is_held_against_us(said):
        return Fate(Happened.FAILED, str(said))
    early, late = (classify(phase, code, text) for phase in (Phase.RCPT, Phase.DOT))
    kinds = {_KINDS.get(verdict.outcome, Happened.FAILED) for verdict in (early, late)}
    return Fate(kinds.pop() if len(kinds) == 1 else Happened.SOFT_BOUNCE, early.detail)


def _time(value: str) -> datetime | None:
    """Return a time in UTC; None if it is none."""
    try:
        at = parsedate_to_datetime(value)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None

"""Bounces and complaints that came by mail: which mail of ours they are about."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.engine import Connection

from app.db import outbox
from app.domain.feedback import Report
from app.mail.feedback.reports import Returned
from app.services import feedback, links, return_paths
from app.services.house import House

IGNORED = "ignored"
"""Mail that is no report."""
UNMATCHED = "unmatched"
"""A report about mail that we did not send, or cannot be shown to have sent."""
KNOWN = "known"
"""Reports that were told before."""

_MESSAGE_ID = re.compile(r"<([1-9][0-9]{0,17})\.([0-9]{20})@")

Origins = Mapping[int, tuple[UUID | None, datetime]]


@dataclass(frozen=True, slots=True)
class _Claim:
    """The mail that a report is about, as it says; without our mark more has to agree."""

    outbox_id: int
    subscription: UUID | None = None
    created_at: str = ""

    def holds(self, origins: Origins) -> bool:
        if self.outbox_id not in origins:
            return False
        subscription, at = origins[self.outbox_id]
        created_at = f"{at.astimezone(UTC):%Y%m%d%H%M%S%f}"
        return not self.created_at or (self.subscription, self.created_at) == (
            subscription,
            created_at,
        )


def receive(connection: Connection, house: House, mails: Sequence[Returned]) -> Counter[str]:
    """Act on reports that came by mail; return how many there were of each kind.

    Besides the kinds there are IGNORED, UNMATCHED and KNOWN; the last were counted before, too.
    """
    claims = [(mail, _claim(house, mail)) for mail in mails if mail.fates]
    origins = outbox.origins(connection, {claim.outbox_id for _, claim in claims if claim})
    matched = [(mail, claim) for mail, claim in claims if claim and claim.holds(origins)]
    told = [report for mail, claim in matched for report in _reports(house, mail, claim)]
    new = feedback.receive(connection, house, told) if told else 0
    tally = Counter(report.kind.value for report in told)
    tally[IGNORED] = len(mails) - len(claims)
    tally[UNMATCHED] = len(claims) - len(matched)
    tally[KNOWN] = len(told) - new
    return tally


def _claim(house: House, mail: Returned) -> _Claim | None:
    """Return what the mail says by our mark, or by what came back of our own mail.

    Anybody can write a Message-ID; only who has had a mail of ours knows its unsubscribe link.
    """
    marked = return_paths.read(house, " ".join(mail.addresses))
    if marked is not None:
        return _Claim(marked)
    named = _MESSAGE_ID.match(mail.message_id)
    subscription = links.read_list_unsubscribe(house, mail.unsubscribe)
    if named is None or subscription is None:
        return None
    return _Claim(int(named[1]), subscription, named[2])


def _reports(house: House, mail: Returned, claim: _Claim) -> list[Report]:
    """Return one report for each recipient; its id is the same whenever this mail is read.

    Of several recipients only the one that bears our address can be meant: the others are behind
    an alias, and one of them who has left says nothing of it.
    """
    at = mail.at or house.clock()
    return [
        Report(
            provider="mailbox",
            event_id=f"{mail.key}.{claim.outbox_id}.{index}",
            kind=fate.kind,
            at=at,
            outbox_id=claim.outbox_id,
            recipient=fate.recipient,
            detail=fate.detail,
        )
        for index, fate in enumerate(mail.fates)
    ]

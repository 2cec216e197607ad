"""The proof of consent, and the check that nobody has changed it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Connection

from app.db import consents, newsletters, policies, subscribers
from app.db.consents import Kept
from app.domain import consent, subscription
from app.domain.consent import NO_EVENTS, Head
from app.domain.errors import NotFound

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Break:
    """Where the record does not hold: which event, and why."""

    subscription_id: str
    sequence: int
    reason: str

    def __str__(self) -> str:
        """Name the event in one line."""
        return f"subscription {self.subscription_id} event {self.sequence}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Report:
    """How much was checked, and the first break if there is one."""

    events: int
    subscriptions: int
    broken: Break | None


def verify(connection: Connection) -> Report:
    """Recompute every chain, digest, head, policy and wording; stop at the first break."""
    known = _Texts(connection)
    if known.broken is not None:
        return Report(0, 0, known.broken)
    events = chains = 0
    for batch in _batches(connection):
        heads = consents.heads(connection, [chain[0]["subscription_id"] for chain in batch])
        for chain in batch:
            broken = _check(chain, heads.get(chain[0]["subscription_id"]), known)
            if broken is not None:
                return Report(events, chains, broken)
            events, chains = events + len(chain), chains + 1
    missing = consents.unrecorded(connection)
    broken = Break(str(missing[0]), 1, "the whole chain is missing") if missing else None
    return Report(events, chains, broken)


def _batches(connection: Connection) -> Iterator[list[list[dict[str, Any]]]]:
    batch: list[list[dict[str, Any]]] = []
    for chain in consents.chains(connection):
        batch.append(chain)
        if len(batch) == _CHUNK:
            yield batch
            batch = []
    yield batch


def _check(chain: list[dict[str, Any]], kept: Kept | None, known: "_Texts") -> Break | None:
    redacted = consent.redaction_end({event["sequence"]: event["kind"] for event in chain})
    head = NO_EVENTS
    for event in chain:
        fault = consent.fault_in(event, head, redacted=head.sequence + 1 < redacted)
        fault = fault or known.fault_in(event)
        if fault is not None:
            return _break(event, fault)
        head = consent.head_of(event)
    is_over = redacted == head.sequence
    return _check_end(chain[-1], head, kept, is_over=is_over)


def _check_end(
    last: dict[str, Any], head: Head, kept: Kept | None, *, is_over: bool
) -> Break | None:
    """Compare with the head that is kept; only a chain that is over may have none."""
    if kept is None:
        return None if is_over else _break(last, "the subscription or the events after it are gone")
    if head.sequence < kept.head.sequence:
        missing = f"the tail is cut: the subscription counts {kept.head.sequence} events"
        return Break(str(last["subscription_id"]), head.sequence + 1, missing)
    if head != kept.head:
        return _break(last, "the head does not match")
    recorded = subscription.status_after(last["kind"])
    fits = recorded in {None, kept.status}
    return None if fits else _break(last, f"the record says {recorded}, not {kept.status}")


def _break(event: dict[str, Any], reason: str) -> Break:
    return Break(str(event["subscription_id"]), event["sequence"], reason)


class _Texts:
    """The texts that events refer to, each checked against its own hash."""

    def __init__(self, connection: Connection) -> None:
        """Read and check every policy and wording."""
        self.broken: Break | None = None
        self.policies = {policy["version"]: policy for policy in policies.texts(connection)}
        texts = newsletters.wording_texts(connection)
        self.wordings = {(text["newsletter"], text["hash"]): text for text in texts}
        for version, policy in self.policies.items():
            if sha256(str(policy["text"])) != policy["sha256"]:
                self.broken = Break("-", 0, f"the text of policy {version} was changed")
        for wording in texts:
            if sha256(str(wording["text"])) != wording["hash"]:
                self.broken = Break("-", 0, f"the text of wording {wording['hash']} was changed")

    def fault_in(self, event: dict[str, Any]) -> str | None:
        """Say which text that the event refers to is not there."""
        if event["policy_version"] is not None and event["policy_version"] not in self.policies:
            return f"policy {event['policy_version']} is not there"
        named = (event["newsletter"], event["wording"])
        missing = event["wording"] is not None and named not in self.wordings
        return f"wording {event['wording']} is not there" if missing else None


def sha256(text: str) -> str:
    """Return hex SHA-256 of the text in UTF-8: what names a policy text or a wording."""
    return hashlib.sha256(text.encode()).hexdigest()


def proof(connection: Connection, subscriber_id: UUID) -> dict[str, Any]:
    """Return what an authority asks: the events in order, the texts, and whether the chain holds.

    Raises NotFound if there is no such subscriber.
    """
    subscriber = subscribers.read(connection, subscriber_id)
    if subscriber is None:
        raise NotFound("There is no such subscriber.")
    events = consents.of_subscriber(connection, subscriber_id)
    known = _Texts(connection)
    named = {(event["newsletter"], event["wording"]) for event in events}
    versions = {event["policy_version"] for event in events}
    owned = consents.subscriptions_of(connection, subscriber_id)
    return {
        "subscriber": subscriber,
        "events": [_shown(event) for event in events],
        "wordings": [text for key, text in known.wordings.items() if key in named],
        "policies": [text for key, text in known.policies.items() if key in versions],
        "verified": _holds(connection, events, owned, known),
    }


def _shown(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event with its salts in hex, so that anybody can recompute its digests."""
    return {k: v.hex() if isinstance(v, bytes) else v for k, v in event.items() if k != "id"}


def _holds(
    connection: Connection, events: list[dict[str, Any]], owned: set[UUID], known: _Texts
) -> bool:
    chains: dict[UUID, list[dict[str, Any]]] = {}
    for event in events:
        chains.setdefault(event["subscription_id"], []).append(event)
    heads = consents.heads(connection, list(chains))
    ordered = [sorted(chain, key=lambda event: event["sequence"]) for chain in chains.values()]
    broken = [_check(chain, heads.get(chain[0]["subscription_id"]), known) for chain in ordered]
    return known.broken is None and owned <= set(chains) and not any(broken)

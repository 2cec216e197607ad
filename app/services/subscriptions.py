"""The one door: a list of commands goes in, and every change of a subscription comes out of it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never
from uuid import UUID

from sqlalchemy.engine import Connection

from app.db.subscriptions import Subscription
from app.domain import budget, subscription
from app.domain.errors import Problem
from app.domain.subscription import BLOCKING, UNDO_FOR, Event, Kind, Reason, Status
from app.services import challenges, folds
from app.services.commands import (
    Answer,
    Bounce,
    Command,
    Complain,
    Confirm,
    Done,
    Expire,
    Explain,
    Import,
    Pause,
    Result,
    SignUp,
    Source,
    Undo,
    Unsubscribe,
)
from app.services.folds import Fold
from app.services.house import House

_LEAVING: dict[type[Command], Event] = {
    Unsubscribe: Event.UNSUBSCRIBE,
    Complain: Event.COMPLAINT,
}


def apply(connection: Connection, commands: Sequence[Command], house: House) -> list[Result]:
    """Carry out the commands in their order, all in this transaction; one result for each.

    A command that is refused is a Problem among the results and leaves no trace. Raises
    IntegrityError if somebody else made the same subscriber or subscription meanwhile: then roll
    back and try again.
    """
    fold = folds.load(connection, commands, house)
    results = [_settled(fold, command) for command in commands]
    folds.write(connection, fold)
    return results


def _settled(fold: Fold, command: Command) -> Result:
    match command:
        case SignUp():
            return _sign_up(fold, command)
        case Confirm():
            return _confirm(fold, command)
        case Unsubscribe() | Complain():
            return _leave(fold, command.subscription, _LEAVING[type(command)], command.source)
        case Undo():
            return _undo(fold, command)
        case Pause() | Explain():
            return _note(fold, command)
        case Bounce():
            return _leave(fold, command.subscription, Event.HARD_BOUNCE, Source(method="sweep"))
        case Import():
            return _import(fold, command)
        case Expire():
            return _expire(fold, command)
    assert_never(command)


def _sign_up(fold: Fold, command: SignUp) -> Result:
    request = fold.requests[id(command)]
    if isinstance(request, Problem):
        return request
    if command.proof:
        if command.proof.challenge not in fold.unspent:
            return challenges.refused()
        fold.unspent.remove(command.proof.challenge)
    done = Done(Answer.ACCEPTED, request.newsletter)
    row = folds.row_of(fold, command.address, request.newsletter.slug)
    change = subscription.step(row.status, Event.SIGN_UP)
    if BLOCKING & fold.suppressed.get(row.email_hash, set()) or not change.mail:
        return done
    own, whole = fold.budgets[request.own], fold.budgets[request.whole]
    own.answer(row.confirmed_at)
    if not budget.may_mail(own, whole, change.mail, fold.now, fold.house.confirm_cooldown):
        own.refused += 1
        return done
    budget.spend(own, whole, change.mail, fold.now)
    if change.consent:
        _remember_wishes(row, command)
        row.requested_at, row.ended_at, row.left_because = fold.now, None, None
    act = folds.act(fold, row, Kind.REQUESTED, command.source)
    agreed = {"policy_version": request.policy.version, "wording": request.wording}
    folds.change(fold, row, change, {**act, **agreed, "locale": request.wording_locale})
    return done


def _remember_wishes(row: Subscription, command: SignUp) -> None:
    """Keep name and locale until the owner confirms; a stranger cannot overwrite them."""
    waiting = row.status is Status.PENDING
    row.pending_name = (row.pending_name if waiting else None) or command.name
    row.pending_locale = (row.pending_locale if waiting else None) or command.locale


def _confirm(fold: Fold, command: Confirm) -> Result:
    row = fold.rows.get(command.subscription)
    if row is None or row.status is None:
        return Done(Answer.LINK_EXPIRED)
    done = _done(fold, row, Answer.CONFIRMED)
    if row.generation != command.generation or row.status is Status.UNSUBSCRIBED:
        return replace(done, answer=Answer.LEFT_SINCE)
    if row.status is Status.CONFIRMED:
        return replace(done, answer=Answer.ALREADY_CONFIRMED)
    agreed = fold.agreed.get((row.id, command.sequence))
    if command.expired or agreed is None:
        return replace(done, answer=Answer.LINK_EXPIRED)
    change = subscription.step(row.status, Event.CONFIRM)
    row.confirmed_at, row.ended_at = fold.now, None
    act = folds.act(fold, row, Kind.CONFIRMED, command.source)
    copied = {name: agreed[name] for name in ("policy_version", "wording", "locale")}
    fold.confirmed.append(replace(row))  # as it is now: what a stranger adds later does not count
    fold.suppressed.get(row.email_hash, set()).discard(Reason.ERASED)
    row.pending_name = row.pending_locale = None
    folds.change(fold, row, change, {**act, **copied, "confirms": command.sequence})
    return done


def _done(fold: Fold, row: Subscription, answer: Answer) -> Done:
    newsletter = fold.catalog.newsletters[row.newsletter]
    return Done(answer, newsletter, row.locale or row.pending_locale, row.subscriber_id)


def _leave(fold: Fold, subscription_id: UUID, event: Event, source: Source) -> Result:
    row = fold.rows.get(subscription_id)
    if row is None or row.status is None:
        return Done(Answer.LEFT)
    done = _done(fold, row, Answer.LEFT)
    change = subscription.step(row.status, event)
    if change.status is Status.UNSUBSCRIBED and row.status is not Status.UNSUBSCRIBED:
        row.ended_at = fold.now
        row.pending_name = row.pending_locale = row.paused_until = None
    folds.change(fold, row, change, folds.act(fold, row, Kind.WITHDRAWN, source))
    return replace(done, can_undo=_can_undo(fold, row))


def _can_undo(fold: Fold, row: Subscription) -> bool:
    """Tell whether a confirmed subscription was left a moment ago, and nothing stops its mail."""
    if row.status is not Status.UNSUBSCRIBED or row.ended_at is None or row.confirmed_at is None:
        return False
    was_confirmed = row.requested_at is None or row.requested_at <= row.confirmed_at
    is_blocked = bool(BLOCKING & fold.suppressed.get(row.email_hash, set()))
    return was_confirmed and not is_blocked and fold.now - row.ended_at < UNDO_FOR


def _undo(fold: Fold, command: Undo) -> Result:
    row = fold.rows.get(command.subscription)
    if row is None or row.status is None:
        return Done(Answer.TOO_LATE)
    done = _done(fold, row, Answer.CONFIRMED)
    if row.status is Status.CONFIRMED:
        return replace(done, answer=Answer.ALREADY_CONFIRMED)
    agreed = fold.last_agreed.get(row.id)
    if agreed is None or agreed["generation"] != row.generation or not _can_undo(fold, row):
        return replace(done, answer=Answer.TOO_LATE)
    change = subscription.step(row.status, Event.UNDO)
    row.ended_at = row.left_because = None
    act = folds.act(fold, row, Kind.CONFIRMED, command.source)
    copied = {name: agreed[name] for name in ("policy_version", "wording", "locale")}
    confirms = agreed["confirms"] or agreed["sequence"]
    folds.change(fold, row, change, {**act, **copied, "confirms": confirms})
    return done


def _note(fold: Fold, command: Pause | Explain) -> Result:
    """Keep what changes no status: a pause of who is there, a reason of who has left."""
    row = fold.rows.get(command.subscription)
    wanted = Status.CONFIRMED if isinstance(command, Pause) else Status.UNSUBSCRIBED
    if row is None or row.status is not wanted:
        return Done(Answer.UNCHANGED)
    if isinstance(command, Pause):
        row.paused_until = command.until
    else:
        row.left_because = command.why.value
    folds.keep(fold, row)
    return _done(fold, row, Answer.DONE)


def _import(fold: Fold, command: Import) -> Result:
    try:
        newsletter = fold.catalog.newsletter(command.newsletter)
    except Problem as problem:
        return problem
    row = folds.row_of(fold, command.address, newsletter.slug)
    change = subscription.step(row.status, Event.IMPORT)
    if change.consent is None or fold.suppressed.get(row.email_hash):
        return Done(Answer.UNCHANGED, newsletter)
    row.requested_at = row.requested_at or fold.now
    row.confirmed_at, row.ended_at = fold.now, None
    row.pending_name = row.pending_locale = None
    act = folds.act(fold, row, Kind.IMPORTED, command.source)
    folds.change(fold, row, change, {**act, "evidence": command.evidence})
    return Done(Answer.DONE, newsletter)


def _expire(fold: Fold, command: Expire) -> Result:
    row = fold.rows.get(command.subscription)
    if row is None or row.requested_at is None or row.requested_at >= command.before:
        return Done(Answer.UNCHANGED)
    change = subscription.step(
        row.status, Event.EXPIRE, ever_confirmed=row.confirmed_at is not None
    )
    if change.consent is None:
        return Done(Answer.UNCHANGED)
    row.pending_name = row.pending_locale = None
    act = folds.act(fold, row, Kind.EXPIRED, Source(method="sweep"))
    folds.change(fold, row, change, {**act, "address": None})
    if change.status is None:
        # Whoever signs up again starts a new chain; the removed one must not be found any more.
        fold.changed.pop(row.id, None)
        fold.rows.pop(row.id, None)
        fold.owners.get(row.email_key, (None, {}))[1].pop(row.newsletter, None)
        fold.removed.append(row)
    return Done(Answer.DONE)

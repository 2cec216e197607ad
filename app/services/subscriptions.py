"""The one door: a list of commands goes in, and every change of a subscription comes out of it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Connection

from app.db.subscriptions import Subscription
from app.domain import budget, subscription
from app.domain.errors import Problem
from app.domain.subscription import BLOCKING, Event, Kind, Mail, Reason, Status
from app.services import folds, wishes
from app.services.commands import (
    Answer,
    AskLink,
    Bounce,
    Command,
    Complain,
    Confirm,
    Done,
    Erase,
    Expire,
    Explain,
    Import,
    Pause,
    Remind,
    Result,
    SignUp,
    Source,
    Undo,
    Unsubscribe,
)
from app.services.folds import Fold
from app.services.house import House


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
    return _VERBS[type(command)](fold, command)


def _sign_up(fold: Fold, command: SignUp) -> Result:
    request = fold.requests[id(command)]
    if isinstance(request, Problem):
        return request
    done = Done(Answer.ACCEPTED, request.newsletter)
    row = folds.row_of(fold, command.address, request.newsletter.slug)
    if BLOCKING & fold.suppressed.get(row.email_hash, set()):
        return done
    act = folds.act(fold, row, Kind.REQUESTED, command.source)
    agreed = {"policy_version": request.policy.version, "wording": request.wording}
    act |= {**agreed, "locale": request.wording_locale}
    if command.proven:
        _join(fold, row, act)
        return done
    change = subscription.step(row.status, Event.SIGN_UP)
    if not change.mail:
        return done
    own, whole = fold.budgets[request.own], fold.budgets[request.whole]
    own.answer(row.confirmed_at)
    if not budget.may_mail(own, whole, change.mail, fold.now, fold.house.confirm_cooldown):
        own.refused += 1
        return done
    budget.spend(own, whole, change.mail, fold.now)
    if change.consent:
        _remember_wishes(row, command)
        if row.status is not Status.PENDING:
            row.reminded_at = None
        row.requested_at, row.ended_at, row.left_because = fold.now, None, None
    folds.change(fold, row, change, act)
    return done


def _join(fold: Fold, row: Subscription, act: dict[str, Any]) -> None:
    """Subscribe somebody who has just shown that the address is theirs."""
    change = subscription.step(row.status, Event.JOIN)
    if change.consent is None:
        return
    row.requested_at = row.confirmed_at = fold.now
    row.ended_at = row.left_because = row.pending_name = row.pending_locale = None
    fold.confirmed.append(replace(row))
    fold.suppressed.get(row.email_hash, set()).discard(Reason.ERASED)
    folds.change(fold, row, change, {**act, "kind": Kind.CONFIRMED})


def _remember_wishes(row: Subscription, command: SignUp) -> None:
    """Keep name and locale until the owner confirms; a stranger cannot overwrite them."""
    waiting = row.status is Status.PENDING
    row.pending_name = (row.pending_name if waiting else None) or command.name
    row.pending_locale = (row.pending_locale if waiting else None) or command.locale


def _confirm(fold: Fold, command: Confirm) -> Result:
    row = fold.rows.get(command.subscription)
    if row is None or row.status is None:
        return Done(Answer.LINK_EXPIRED)
    done = folds.done(fold, row, Answer.CONFIRMED)
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


def _leave(fold: Fold, subscription_id: UUID, event: Event, source: Source) -> Result:
    row = fold.rows.get(subscription_id)
    if row is None or row.status is None:
        return Done(Answer.LEFT)
    done = folds.done(fold, row, Answer.LEFT)
    change = subscription.step(row.status, event)
    if change.status is Status.UNSUBSCRIBED and row.status is not Status.UNSUBSCRIBED:
        row.ended_at = fold.now
        row.pending_name = row.pending_locale = row.paused_until = None
    folds.change(fold, row, change, folds.act(fold, row, Kind.WITHDRAWN, source))
    return replace(done, can_undo=wishes.can_undo(fold, row))


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


def _remind(fold: Fold, command: Remind) -> Result:
    """Mail the confirm link once more, if that is still of use and inside the budget."""
    row = fold.rows.get(command.subscription)
    if row is None or row.status is not Status.PENDING or row.reminded_at is not None:
        return Done(Answer.UNCHANGED)
    own, whole = (fold.budgets[key] for key in folds.budgets_of(fold.house, command))
    # Whatever comes of it, nobody is looked at twice.
    row.reminded_at = fold.now
    folds.keep(fold, row)
    is_in = budget.may_mail(own, whole, Mail.CONFIRM, fold.now, fold.house.confirm_cooldown)
    if not is_in or BLOCKING & fold.suppressed.get(row.email_hash, set()):
        return Done(Answer.UNCHANGED)
    budget.spend(own, whole, Mail.CONFIRM, fold.now)
    fold.mails.append(folds.mail(fold, row, Mail.CONFIRM))
    return Done(Answer.DONE)


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
        folds.remove(fold, row)
    return Done(Answer.DONE)


def _unsubscribe(fold: Fold, command: Unsubscribe) -> Result:
    return _leave(fold, command.subscription, Event.UNSUBSCRIBE, command.source)


def _complain(fold: Fold, command: Complain) -> Result:
    return _leave(fold, command.subscription, Event.COMPLAINT, command.source)


def _bounce(fold: Fold, command: Bounce) -> Result:
    return _leave(fold, command.subscription, Event.HARD_BOUNCE, Source(method="sweep"))


_VERBS: dict[type[Command], Callable[[Fold, Any], Result]] = {
    SignUp: _sign_up,
    AskLink: wishes.ask_link,
    Confirm: _confirm,
    Unsubscribe: _unsubscribe,
    Undo: wishes.undo,
    Pause: wishes.note,
    Explain: wishes.note,
    Erase: wishes.erase,
    Complain: _complain,
    Bounce: _bounce,
    Import: _import,
    Remind: _remind,
    Expire: _expire,
}

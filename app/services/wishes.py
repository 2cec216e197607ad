"""What subscribers wish for themselves: another chance, a pause, their link, to be forgotten."""

from dataclasses import replace

from app.db.subscriptions import Subscription
from app.domain import budget, subscription
from app.domain.subscription import BLOCKING, UNDO_FOR, Event, Kind, Mail, Status
from app.services import folds
from app.services.commands import Answer, AskLink, Done, Erase, Explain, Pause, Result, Source, Undo
from app.services.folds import Fold


def can_undo(fold: Fold, row: Subscription) -> bool:
    """Tell whether a confirmed subscription was left a moment ago, and nothing stops its mail."""
    if row.status is not Status.UNSUBSCRIBED or row.ended_at is None or row.confirmed_at is None:
        return False
    was_confirmed = row.requested_at is None or row.requested_at <= row.confirmed_at
    is_blocked = bool(BLOCKING & fold.suppressed.get(row.email_hash, set()))
    return was_confirmed and not is_blocked and fold.now - row.ended_at < UNDO_FOR


def undo(fold: Fold, command: Undo) -> Result:
    """Take a leaving back; the consent that held before holds again, and is named."""
    row = fold.rows.get(command.subscription)
    if row is None or row.status is None:
        return Done(Answer.TOO_LATE)
    done = folds.done(fold, row, Answer.CONFIRMED)
    if row.status is Status.CONFIRMED:
        return replace(done, answer=Answer.ALREADY_CONFIRMED)
    agreed = fold.last_agreed.get(row.id)
    if agreed is None or agreed["generation"] != row.generation or not can_undo(fold, row):
        return replace(done, answer=Answer.TOO_LATE)
    change = subscription.step(row.status, Event.UNDO)
    row.ended_at = row.left_because = None
    act = folds.act(fold, row, Kind.CONFIRMED, command.source)
    copied = {name: agreed[name] for name in ("policy_version", "wording", "locale")}
    confirms = agreed["confirms"] or agreed["sequence"]
    folds.change(fold, row, change, {**act, **copied, "confirms": confirms})
    return done


def note(fold: Fold, command: Pause | Explain) -> Result:
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
    return folds.done(fold, row, Answer.DONE)


def ask_link(fold: Fold, command: AskLink) -> Result:
    """Mail the link if the address is known; the answer does not tell."""
    done = Done(Answer.ACCEPTED)
    owned = fold.owners.get(command.address.key, (None, {}))[1].values()
    rows = [fold.rows[subscription_id] for subscription_id in owned]
    own, whole = (fold.budgets[key] for key in folds.budgets_of(fold.house, command))
    kind = Mail.PREFERENCES_LINK
    if not rows or BLOCKING & fold.suppressed.get(rows[0].email_hash, set()):
        return done
    if not budget.may_mail(own, whole, kind, fold.now, fold.house.confirm_cooldown):
        own.refused += 1
        return done
    budget.spend(own, whole, kind, fold.now)
    # It comes from a newsletter that the person knows, best from one that is received.
    known = min(rows, key=lambda row: (row.status is not Status.CONFIRMED, str(row.id)))
    fold.mails.append(folds.mail(fold, known, kind))
    return done


def erase(fold: Fold, command: Erase) -> Result:
    """Forget somebody; a keyed hash stays, so that no import brings the address back."""
    owned = [row for row in fold.rows.values() if row.subscriber_id == command.subscriber]
    for row in owned:
        act = folds.act(fold, row, Kind.ERASED, Source(method=command.source.method))
        change = subscription.step(row.status, Event.ERASE)
        folds.change(fold, row, change, {**act, "address": None})
        folds.remove(fold, row)
    return Done(Answer.DONE if owned else Answer.UNCHANGED)

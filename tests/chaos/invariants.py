"""What must hold whatever happens, judged by what the mail server has written down."""

import math
from collections import Counter

from app.db.tables import outbox
from tests.chaos.relays import Phase
from tests.chaos.stages import UNSETTLED, Stage


def broken(stage: Stage) -> list[str]:
    """Return a sentence for each way in which delivery was not what is promised."""
    return [
        *stage.faults,
        *_unsettled(stage),
        *_lost(stage),
        *_uncalled_for(stage),
        *_copied(stage),
        *_changed(stage),
        *_crashed(stage),
    ]


def lost(stage: Stage) -> set[int]:
    """Return the rows that are owed and that no server ever said it has."""
    owed = {row["id"] for row in stage.database.mails(outbox.c.state.not_in(["skipped", "failed"]))}
    return owed - stage.relay.answered()


def _lost(stage: Stage) -> list[str]:
    missing = lost(stage)
    return [f"{len(missing)} mails never arrived"] if missing else []


def _unsettled(stage: Stage) -> list[str]:
    states = stage.database.states()
    left = {state: states[state] for state in ("waiting", "leased", "held") if states[state]}
    return [f"the outbox has not drained: {left}"] if left else []


def _uncalled_for(stage: Stage) -> list[str]:
    """Find mail to people who had left before it was claimed, and none to people who stayed."""
    reached = {
        mail.recipient
        for mail in stage.relay.taken
        if mail.times[Phase.DOT] > stage.departed.get(mail.recipient, math.inf)
    }
    skipped = {row["email"] for row in stage.database.mails(outbox.c.state == "skipped")}
    wronged = skipped - stage.left
    return [
        *([f"{len(reached)} who had left before the claim got mail"] if reached else []),
        *([f"{len(wronged)} who had not left got none"] if wronged else []),
    ]


def _copied(stage: Stage) -> list[str]:
    """Find copies that no kill and no betrayal of the server explains."""
    excuses = Counter(row for kill in stage.kills for row in kill.excused)
    excuses.update(mail.row for mail in stage.relay.taken if mail.is_betrayed)
    copies = stage.copies()
    wrong = {row for row, count in copies.items() if count > excuses[row]}
    found = [f"{len(wrong)} mails arrived again without need"] if wrong else []
    most = max((len(kill.excused) - kill.connections for kill in stage.kills), default=0)
    return [*found, *([f"{most} were unsettled at one kill"] if most > UNSETTLED else [])]


def _changed(stage: Stage) -> list[str]:
    """Find copies that are not the same mail: another Message-ID or other bytes."""
    seen: dict[int, tuple[str, int, str]] = {}
    for mail in stage.relay.taken:
        now = (mail.message_id, mail.content, mail.recipient)
        if seen.setdefault(mail.row, now) != now:
            return [f"the mail {mail.row} was not the same at every try"]
    return []


def _crashed(stage: Stage) -> list[str]:
    return ["a traceback was logged"] if "Traceback" in stage.nursery.logs() else []

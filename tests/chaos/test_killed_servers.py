"""An API process dies while people sign up: who was told yes is on the list and gets mail."""

from urllib.parse import urlsplit

from tests.chaos.crowds import Crowd, crowding
from tests.chaos.stages import Stage
from tests.journeys.processes import is_ready, wait_until

KILLS = 3
ANSWERS = 25


def must_have_kept(stage: Stage, crowd: Crowd) -> None:
    """Everybody who was told yes has a mail; no mail is without its subscription and proof."""
    mails = stage.database.mails()
    assert {mail["email"] for mail in mails} >= crowd.accepted
    assert len({mail["subscription_id"] for mail in mails}) == len(mails)
    told = stage.nursery.ok("consent", "verify")
    assert told == f"verified {len(mails)} events of {len(mails)} subscriptions"


def test_an_api_process_is_killed_while_people_sign_up(stage: Stage) -> None:
    stage.start(2)
    url = stage.nursery.serve()
    wait_until(lambda: is_ready(url))
    with crowding(url) as crowd:
        for _ in range(KILLS):
            goal = len(crowd.accepted) + ANSWERS
            wait_until(lambda: len(crowd.accepted) >= goal)  # noqa: B023
            server = stage.nursery.started[-1]
            server.kill()
            server.wait(10)
            stage.nursery.start("serve", "--port", str(urlsplit(url).port))
            wait_until(lambda: is_ready(url))
    assert set(crowd.statuses) <= {0, 202, 503}
    must_have_kept(stage, crowd)
    stage.drain()
    assert stage.copies() == {}

import asyncio
import json
import sqlite3
import stat
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.db.engine import open_engine
from app.domain import address
from app.domain.errors import Unauthenticated
from app.main import house_of
from app.services import keys, subscriptions
from app.services.commands import SignUp, Source
from app.services.house import utc_now
from app.services.keys import Key
from app.settings import Settings
from tests.journeys.processes import SECRETS, Installation, is_ready, wait_until
from tests.mail.servers import free_port

WHOLE = "newsletter.db"


def in_database(house: Installation, work: Any, *arguments: Any) -> Any:  # noqa: ANN401
    """Run a function of a connection on the installation's SQLite file."""

    async def run() -> Any:  # noqa: ANN401
        engine = open_engine(f"sqlite:///{house.folder / WHOLE}")
        try:
            return await engine.write(work, *arguments)
        finally:
            await engine.close()

    return asyncio.run(run())


def sign_up(house: Installation, *emails: str) -> None:
    settings = Settings.without_file(
        base_url="http://localhost",
        secret_keys=(SECRETS["NEWSLETTER_SECRET_KEYS"],),
        hash_key=SECRETS["NEWSLETTER_HASH_KEY"],
    )
    source = Source(method="form", ip="192.0.2.1")
    commands = [SignUp(address=address.parse(email), source=source) for email in emails]
    in_database(house, subscriptions.apply, commands, house_of(settings))


def present(house: Installation, key: str) -> Key:
    found: Key = in_database(house, keys.check, key, utc_now())
    return found


@pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"])
def test_migrate_tells_what_is_pending_and_brings_it_up_to_date(
    house: Installation, engine_name: str, empty_postgres: str
) -> None:
    if engine_name == "postgresql":
        house.environment["NEWSLETTER_DATABASE_URL"] = empty_postgres
    pending = house.run("migrate", "--check")
    assert (pending.code, pending.out) == (1, "migrations are pending\n")
    assert house.ok("migrate") == "up to date"
    assert house.ok("migrate", "--check") == "up to date"
    assert house.ok("migrate") == "up to date"


def test_two_migrations_at_once_both_succeed(house: Installation, empty_postgres: str) -> None:
    house.environment["NEWSLETTER_DATABASE_URL"] = empty_postgres
    ends: list[Any] = []
    threads = [
        threading.Thread(target=lambda: ends.append(house.spawn("migrate"))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(done.code, done.out) for done in ends] == [(0, "up to date\n")] * 2


def test_a_new_key_is_printed_alone_and_works(open_house: Installation) -> None:
    done = open_house.run("keys", "create", "reports", "--scope", "subscribers:read")
    key = done.out.removesuffix("\n")
    assert (done.code, done.err, key.split()) == (0, "", [key])
    assert present(open_house, key).scopes == {"subscribers:read"}


def test_a_key_can_have_several_scopes_a_newsletter_and_an_end(open_house: Installation) -> None:
    scopes = ("--scope", "subscribers:read", "--scope", "newsletters:write")
    limits = ("--newsletter", "insights", "--expires", "2099-01-31T00:00:00Z")
    found = present(open_house, open_house.ok("keys", "create", "x", *scopes, *limits))
    assert found.scopes == {"subscribers:read", "newsletters:write"}
    assert found.newsletter == "insights"
    assert "expires 2099-01-31" in open_house.ok("keys", "list")


def test_the_list_of_keys_shows_none_of_them(open_house: Installation) -> None:
    made = [open_house.ok("keys", "create", name, "--scope", "admin") for name in ("one", "two")]
    listed = open_house.ok("keys", "list")
    assert "one" in listed
    assert "two" in listed
    for key in made:
        _, key_id, secret = key.split("_", 2)
        assert key_id in listed
        assert secret not in listed


def test_a_revoked_key_is_refused_at_once(open_house: Installation) -> None:
    key = open_house.ok("keys", "create", "lost", "--scope", "admin")
    key_id = key.split("_")[1]
    assert open_house.ok("keys", "revoke", key_id) == f"revoked {key_id}"
    with pytest.raises(Unauthenticated):
        present(open_house, key)
    assert "revoked" in open_house.ok("keys", "list")
    assert open_house.run("keys", "revoke", key_id).code == 2


def _tamper(house: Installation, *statements: str) -> None:
    """Change the record as somebody would who has the file: without the triggers."""
    with closing(sqlite3.connect(house.folder / WHOLE)) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_a_whole_record_is_verified(open_house: Installation) -> None:
    sign_up(open_house, "ann@example.org", "bob@example.org")
    done = open_house.run("consent", "verify")
    assert (done.code, done.out) == (0, "verified 2 events of 2 subscriptions\n")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE consent_events SET method = 'page' WHERE id = 2", "event 1"),
        ("UPDATE consent_events SET address_salt = NULL WHERE id = 2", "event 1"),
        ("DELETE FROM consent_events WHERE id = 2", "event 1"),
        ("UPDATE policies SET text = text || '!'", "policy 2026-01"),
    ],
)
def test_a_record_that_was_changed_is_named(
    open_house: Installation, statement: str, said: str
) -> None:
    sign_up(open_house, "ann@example.org", "bob@example.org")
    subscription = in_database(open_house, _subscription_of, "bob@example.org")
    _tamper(open_house, statement)
    done = open_house.run("consent", "verify")
    assert done.code == 1
    assert done.out.startswith("broken: ")
    assert said in done.out
    if said == "event 1":
        assert str(subscription) in done.out


def _subscription_of(connection: Any, email: str) -> str:  # noqa: ANN401
    statement = (
        "SELECT s.id FROM subscriptions s JOIN subscribers p ON p.id = s.subscriber_id "
        "WHERE p.email_key = ?"
    )
    return str(connection.exec_driver_sql(statement, (email,)).scalar_one())


def test_the_proof_of_a_person_is_printed_as_json(open_house: Installation) -> None:
    sign_up(open_house, "ann@example.org", "bob@example.org")
    proof = json.loads(open_house.ok("consent", "proof", "Ann@EXAMPLE.org"))
    [event] = proof["events"]
    assert proof["verified"] is True
    assert (event["kind"], event["address"], event["ip"]) == (
        "requested",
        "ann@example.org",
        "192.0.2.1",
    )
    assert [policy["text"] for policy in proof["policies"]] == ["We keep your address."]
    assert "bob@" not in json.dumps(proof)


def test_dev_listens_to_none_of_the_settings_of_production(
    house: Installation, tmp_path: Path
) -> None:
    foreign: Sequence[str] = (
        "NEWSLETTER_DATABASE_URL=postgresql://nowhere.invalid/news",
        "NEWSLETTER_MAIL_URL=smtp://nowhere.invalid",
        "NEWSLETTER_SECRET_KEYS=x",
        "NEWSLETTER_BASE_URL=https://nowhere.invalid",
        "NEWSLETTER_CONSENT_IP=not-a-choice",
    )
    (tmp_path / ".env").write_text("\n".join(foreign))
    house.environment = dict(line.split("=", 1) for line in foreign[:-1])
    house.environment["NEWSLETTER_DATA_DIR"] = str(tmp_path / "data")
    port = str(free_port())
    house.start("dev", "--port", port)
    wait_until(lambda: is_ready(f"http://127.0.0.1:{port}"))
    assert f"http://127.0.0.1:{port}/newsletters/insights" in house.logs()
    assert house.stop() == [0]

    kept = tmp_path / "data" / "dev.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert {path.name for path in kept.parent.iterdir()} >= {"dev.json", WHOLE}
    house.environment = {"NEWSLETTER_DATA_DIR": str(tmp_path / "data")}
    (tmp_path / ".env").unlink()
    assert json.loads(kept.read_text())["admin_key"].split("_")[1] in house.ok("keys", "list")

import asyncio
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.journeys.processes import (
    PostOffice,
    fetch,
    furnish,
    installed,
    is_ready,
    wait_until,
)

PEOPLE = [f"reader{number}@example.org" for number in range(50)]


def _ask(url: str, *emails: str) -> list[int]:
    with httpx.Client() as client:
        bodies = [{"email": email, "consent": True} for email in emails]
        return [client.post(f"{url}/v1/subscriptions", json=b).status_code for b in bodies]


def test_two_servers_and_two_workers_share_one_postgresql(
    tmp_path: Path, empty_postgres: str, office: PostOffice
) -> None:
    database = empty_postgres
    with installed(tmp_path, database_url=database, mail_url=office.url) as house:
        house.ok("migrate")
        furnish(house)
        key = house.ok("keys", "create", "journey", "--scope", "subscribers:read")
        urls = [house.serve(), house.serve()]
        house.start("work")
        house.start("work")
        wait_until(lambda: all(is_ready(url) for url in urls))

        statuses = asyncio.run(_storm(urls))
        assert statuses == [202] * 200
        wait_until(lambda: fetch(database, "SELECT DISTINCT state FROM outbox") == [("sent",)])
        assert sorted(office.recipients) == sorted(PEOPLE)
        assert _listed(urls[0], key) == _listed(urls[1], key) == 50

        assert house.stop() == [0, 0, 0, 0]
        assert len(office.taken) == 50
        assert fetch(database, "SELECT state, count(*) FROM outbox GROUP BY 1") == [("sent", 50)]
        assert fetch(database, _DEADLOCKS) == [(0,)]
        assert "error" not in house.logs()
        assert house.ok("consent", "verify") == "verified 50 events of 50 subscriptions"


_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


async def _storm(urls: list[str]) -> list[int]:
    """Post four times for everybody, all at once, to both servers by turns."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:
        posts = [
            client.post(
                f"{urls[(number + turn) % 2]}/v1/subscriptions",
                json={"email": email, "consent": True},
            )
            for turn in range(4)
            for number, email in enumerate(PEOPLE)
        ]
        return [answer.status_code for answer in await asyncio.gather(*posts)]


def _listed(url: str, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.get(f"{url}/v1/subscribers", params={"count": "true"}, headers=headers)
    return int(answer.json()["total"])


def test_several_processes_behind_one_port_answer_and_stop_cleanly(
    tmp_path: Path, empty_postgres: str
) -> None:
    with installed(tmp_path, database_url=empty_postgres) as house:
        house.ok("migrate")
        furnish(house)
        url = house.serve("--processes", "2")
        wait_until(lambda: is_ready(url))
        assert _ask(url, *PEOPLE[:6]) == [202] * 6
        assert house.stop() == [0]
        assert "Traceback" not in house.logs()
    assert fetch(empty_postgres, "SELECT count(*) FROM subscribers") == [(6,)]


def _execute(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        found = connection.execute(statement).fetchall()
        connection.commit()
        return found


def test_a_server_and_a_worker_share_one_file_and_a_killed_worker_loses_nothing(
    tmp_path: Path, office: PostOffice
) -> None:
    file = tmp_path / "newsletter.db"
    url = f"sqlite:///{file}"
    settings = {"database_url": url, "mail_url": office.url, "mail_connections": "2"}
    with installed(tmp_path, **settings) as house:
        house.ok("migrate")
        furnish(house)
        api = house.serve()
        worker = house.start("work")
        wait_until(lambda: is_ready(api))
        wait_until(lambda: "worker_started" in house.logs())
        _ask(api, "prompt@example.org")
        asked = time.monotonic()
        wait_until(lambda: office.taken)
        assert time.monotonic() - asked < 5

        office.seconds = 0.1
        assert _ask(api, *PEOPLE[:20]) == [202] * 20
        wait_until(lambda: len(office.taken) > 5)
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        house.started.remove(worker)
        assert _execute(file, "SELECT 1 FROM outbox WHERE state != 'sent'")

        _execute(file, "UPDATE outbox SET lease_until = created_at WHERE state = 'leased'")
        house.start("work")
        states = "SELECT DISTINCT state FROM outbox"
        wait_until(lambda: _execute(file, states) == [("sent",)])
        assert set(office.recipients) == {"prompt@example.org", *PEOPLE[:20]}
        names = {mail["Message-ID"] for mail in office.mails}
        assert len(names) == 21, "a copy carries the Message-ID of its original"
        assert house.stop() == [0, 0]


def test_server_processes_end_with_the_one_that_started_them(
    tmp_path: Path, empty_postgres: str
) -> None:
    with installed(tmp_path, database_url=empty_postgres) as house:
        house.ok("migrate")
        furnish(house)
        url = house.serve("--processes", "2")
        wait_until(lambda: is_ready(url))
        parent = house.started.pop()
        parent.kill()
        parent.wait(10)
        wait_until(lambda: not is_ready(url))
        house.start("serve", "--port", str(urlsplit(url).port))
        wait_until(lambda: is_ready(url))
        assert house.stop() == [0]

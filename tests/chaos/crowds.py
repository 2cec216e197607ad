"""Visitors that sign up all the time, and remember who was told that it is accepted."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from itertools import count
from urllib.parse import urlsplit

VISITORS = 4
PAUSE = 0.01


@dataclass
class Crowd:
    """What the visitors know; a status of 0 stands for no answer."""

    url: str
    accepted: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    is_over: threading.Event = field(default_factory=threading.Event)
    numbers: Iterator[int] = field(default_factory=count)

    def visit(self) -> None:
        """Sign up one after another until it is over."""
        while not self.is_over.wait(PAUSE):
            email = f"visitor{next(self.numbers)}@example.org"
            status = self._post(email)
            self.statuses[status] += 1
            if status == HTTPStatus.ACCEPTED:
                self.accepted.add(email)

    def _post(self, email: str) -> int:
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        body = json.dumps({"email": email, "consent": True})
        headers = {"Content-Type": "application/json"}
        with closing(connection), suppress(OSError, HTTPException):
            connection.request("POST", "/v1/subscriptions", body, headers)
            return connection.getresponse().status
        return 0


@contextmanager
def crowding(url: str) -> Iterator[Crowd]:
    """Have visitors while inside; afterwards all of them have their answers."""
    crowd = Crowd(url)
    threads = [threading.Thread(target=crowd.visit) for _ in range(VISITORS)]
    for thread in threads:
        thread.start()
    try:
        yield crowd
    finally:
        crowd.is_over.set()
        for thread in threads:
            thread.join()

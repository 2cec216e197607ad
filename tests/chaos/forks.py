"""Processes that start in no time: forked from one that has imported everything.

They are processes like all others, with signals and exit codes of their own; only reading the
modules in, which takes seconds, is done once for all of them.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from app.cli.commands import run
from tests.journeys.processes import Installation

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.chaos.forks", "uvloop", "httptools", "asyncpg"])


@dataclass(frozen=True)
class Forked:
    """What `subprocess.Popen` is for other processes."""

    process: BaseProcess

    @property
    def pid(self) -> int:
        return self.process.pid or 0

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("newsletter", timeout or 0)
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery(Installation):
    """An installation whose processes are forked."""

    def start(self, *arguments: str) -> Forked:
        log = self.log(len(self.started))
        log.touch()
        values = (arguments, self.folder, self.variables, log)
        process = _context.Process(target=_run, args=values)
        process.start()
        forked = Forked(process)
        self.started.append(forked)
        return forked


def _run(arguments: tuple[str, ...], folder: Path, variables: Mapping[str, str], log: Path) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = ["newsletter", *arguments]
    run()

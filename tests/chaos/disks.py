"""Disks that are full when the test wants it, and have room again when it wants that."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Disk:
    """A file system in memory."""

    folder: Path

    def fill(self) -> None:
        """Leave no room at all."""
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            for size in (MEGABYTE, 4096, 1):
                try:
                    while True:
                        ballast.write(bytes(size))
                except OSError:
                    continue

    def make_room(self) -> None:
        (self.folder / "ballast").unlink()


@dataclass(frozen=True)
class Ceiling:
    """What needs no rights: a size that no file of some processes may pass (RLIMIT_FSIZE)."""

    file: Path
    pids: Callable[[], list[int]]

    def fill(self) -> None:
        self._limit(self.file.stat().st_size)

    def make_room(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, octets: int) -> None:
        for pid in self.pids():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (octets, resource.RLIM_INFINITY))


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[Disk]:
    """Have the small disk while inside; raises PermissionError where mounting is not allowed."""
    folder.mkdir(mode=0o755)
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        raise PermissionError("only root may mount")
    command = [mount, "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:  # noqa: S603
        raise PermissionError("mounting is not allowed here")
    try:
        yield Disk(folder)
    finally:
        subprocess.run([umount, "--lazy", str(folder)], check=True)  # noqa: S603

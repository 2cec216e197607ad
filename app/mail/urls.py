"""URLs that name a place for mail and may hold a secret; no error repeats any part of them."""

import ipaddress
import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+")

_LABEL = 63
"""Octets between two dots of a host name (RFC 1035 2.3.4)."""


def maildir_path(url: str) -> Path:
    """Return the folder of `maildir:relative/path` or `maildir:///absolute/path`."""
    rest = url.partition(":")[2]
    if "?" in rest or "#" in rest:
        raise ValueError("A maildir: URL takes no parameters.")
    if rest.startswith("//") and not rest.startswith("///"):
        raise ValueError("Write maildir:///absolute/path or maildir:relative/path.")
    path = unquote(rest.removeprefix("//"))
    if not path.strip("/") or "\0" in path:
        raise ValueError("The maildir: URL has no path.")
    return Path(path)


def split(url: str, what: str) -> SplitResult:
    """Split a URL; the standard library's own errors may repeat a part of the password."""
    try:
        parts = urlsplit(url)
        _ = parts.port, parts.hostname
    except ValueError:
        message = (
            f"The host or port of the {what} URL is not valid; percent-encode / ? # [ ] @ and : "
            "in user name, password, key and token."
        )
        raise ValueError(message) from None
    return parts


def host(parts: SplitResult, what: str) -> str:
    """Return the name or IP address of a server, whose port is good too."""
    found = parts.hostname or ""
    labels = [] if ":" in found else found.split(".")
    is_name = all(0 < len(label) <= _LABEL for label in labels)
    if not _HOST.fullmatch(found) or not is_name or parts.port == 0:
        raise ValueError(
            f"The {what} URL needs a host name or IP address, and a port above 0 if any."
        )
    return found


def is_loopback(name: str) -> bool:
    """Tell whether a server is on this host, so that nobody can listen in between."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"

"""Who is calling: the connection's address, or what proxies that we trust say."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from fastapi import Request

Networks = tuple[IPv4Network | IPv6Network, ...]
Ip = IPv4Address | IPv6Address

_PREFIX = {4: 24, 6: 48}
_ONE_CLIENT = {4: 32, 6: 64}


def of(request: Request, trusted: Networks) -> Ip | None:
    """Return the right-most hop of X-Forwarded-For that no trusted proxy is.

    What stands left of it was written by the client and counts for nothing.
    """
    peer = _parse(request.client.host) if request.client else None
    if peer is None or not _is_in(peer, trusted):
        return peer
    hops = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    for hop in reversed(hops):
        address = _parse(hop.strip())
        if address is None:
            return peer
        peer = address
        if not _is_in(address, trusted):
            return address
    return peer


def recorded(address: Ip | None, precision: str) -> str | None:
    """Return the address as CONSENT_IP allows: full, truncated to /24 or /48, or none."""
    if address is None or precision == "none":
        return None
    if precision == "truncated":
        network = ip_network((address, _PREFIX[address.version]), strict=False)
        return str(network.network_address)
    return str(address)


def network(address: Ip) -> str:
    """Return the network that is one client: an IPv4 address, or the /64 that a line is given."""
    return str(ip_network((address, _ONE_CLIENT[address.version]), strict=False))


def _is_in(address: Ip, networks: Networks) -> bool:
    return any(address.version == n.version and address in n for n in networks)


def _parse(host: str) -> Ip | None:
    """Read an address that may carry a port, as some proxies write it."""
    bare = host.removeprefix("[").partition("]")[0] if host.startswith("[") else host
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address

"""Which requests a server of the embedded stack accepts: checks that the emulator, the gateway and the page share.

Any page of the web can make a browser send requests to this machine. Two signs show this. Its requests carry an
`Origin` or `Sec-Fetch-Site` that is not ours. A page whose own name was rebound to 127.0.0.1 has the same origin as its
requests, but it still sends its own name as `Host`.

This module imports the standard library alone: the emulator's interpreter, which has none of our libraries, loads it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from ipaddress import ip_address
from typing import Final

MISDIRECTED: Final = 421
FORBIDDEN: Final = 403

_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")


def is_loopback(name: str) -> bool:
    """Return whether a host's name, in lower case and an IPv6 address in brackets, can only be this machine."""
    if name == "localhost":
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def is_own_host(hosts: Sequence[str], *, names: Collection[str] = (), ports: Collection[int] | None = None) -> bool:
    """Return whether a request was sent to a name of this machine, or to one of some other `names`.

    `hosts` are its `Host` headers; there must be exactly one. `ports` are those that it may name, any if None: a person
    who forwards a port of this machine to another one uses that other port.
    """
    if len(hosts) != 1 or (host := _HOST.fullmatch(hosts[0].lower())) is None:
        return False
    if ports is not None and int(host["port"] or 80) not in ports:
        return False
    return is_loopback(host["name"]) or host["name"] in names


def is_from_a_page(headers: Mapping[str, str]) -> bool:
    """Whether a web page sent a request: the request has an `Origin`, or the browser marks it as another site's.

    A person who opens the address in a browser sends neither. The names of `headers` are in lower case, or
    are compared without case.
    """
    return "origin" in headers or headers.get("sec-fetch-site", "none") not in ("none", "same-origin")

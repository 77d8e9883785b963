"""Ports of the loopback address."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from samsocket.errors import AddressInUseError


@contextmanager
def free_port(port: int) -> Iterator[int]:
    """Hold a port, any free one for 0, until it is to be used.

    Raises:
        AddressInUseError: something listens on it.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressInUseError("127.0.0.1", port) from error
            raise
        yield int(holder.getsockname()[1])

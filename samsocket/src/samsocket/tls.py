"""Certificates for this machine's own use: an authority made on the first run, and a certificate for each name.

The authority is never installed into the system: the functions' processes are told to trust it, by their environment.
Its key is readable by this user alone.
"""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import botocore
import trustme

_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_PRIVATE: Final = 0o600


class Authority:
    """The authority of a folder; `certificate` is its file, `bundle` that file with the public authorities."""

    def __init__(self, folder: Path) -> None:
        """Read the authority, or make it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.certificate, key, self.bundle = folder / "ca.pem", folder / "ca.key", folder / "bundle.pem"
        if not (self.certificate.is_file() and key.is_file()):
            made = trustme.CA(organization_name="samsocket on this machine")
            key.unlink(missing_ok=True)
            with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "wb") as file:
                file.write(made.private_key_pem.bytes())
            self.certificate.write_bytes(made.cert_pem.bytes())
        self._authority = trustme.CA.from_pem(self.certificate.read_bytes(), key.read_bytes())
        public = (Path(botocore.__file__).parent / "cacert.pem").read_bytes()
        self.bundle.write_bytes(public + b"\n" + self.certificate.read_bytes())

    def server_context(self) -> ssl.SSLContext:
        """Return the side of a server that has a certificate for whatever name it is called by."""
        context_for = lru_cache(maxsize=256)(self._context_for)

        def called_by(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            if name is not None:
                connection.context = context_for(name)

        context = self._context_for(*_LOCAL)
        named: Any = context
        named.sni_callback = called_by
        return context

    def _context_for(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        self._authority.issue_cert(*names).configure_cert(context)
        return context

"""Certificates for this machine's own use: an authority made on the first run, and a certificate for each name.

The authority is never installed into the system: the functions' processes are told to trust it, by their environment.
Its key is readable by this user alone.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import botocore
import trustme

from samsocket.environments import CERTIFICATE
from samsocket.held import held

_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


class Authority:
    """The authority of a folder; `certificate` is its file, `bundle` that file with the public authorities."""

    def __init__(self, folder: Path) -> None:
        """Read the authority, or make it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.certificate, key, self.bundle = folder / CERTIFICATE, folder / "ca.key", folder / "bundle.pem"
        with held(folder / ".lock"):
            if not _fit(self.certificate, key):
                made = trustme.CA(organization_name="samsocket on this machine")
                _replace(key, made.private_key_pem.bytes())
                _replace(self.certificate, made.cert_pem.bytes())
            self._authority = trustme.CA.from_pem(self.certificate.read_bytes(), key.read_bytes())
            public = (Path(botocore.__file__).parent / "cacert.pem").read_bytes()
            _replace(self.bundle, public + b"\n" + self.certificate.read_bytes())

    def server_context(self) -> ssl.SSLContext:
        """Return the side of a server that has a certificate for whatever name it is called by."""
        context_for = lru_cache(maxsize=256)(self._context_for)

        def called_by(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            for each in () if name is None else (name, f"*.{name.partition('.')[2]}"):
                with contextlib.suppress(ValueError):  # such as a bucket's name, whose `--` or `_` IDNA forbids
                    connection.context = context_for(each)
                    return

        context = self._context_for(*_LOCAL)
        named: Any = context
        named.sni_callback = called_by
        return context

    def _context_for(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        self._authority.issue_cert(*names).configure_cert(context)
        return context


def _fit(certificate: Path, key: Path) -> bool:
    """Return whether both files are there, and the key is the certificate's."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError:  # an SSLError is one
        return False
    return True


def _replace(path: Path, content: bytes) -> None:
    """Write a file that this user alone can read; who reads it meanwhile gets all of the old or of the new one."""
    number, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(number, "wb") as file:
        file.write(content)
    Path(name).replace(path)

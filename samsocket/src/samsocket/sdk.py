"""AWS's SDK as the tool itself uses it: it heeds neither the user's AWS configuration nor a proxy."""

from __future__ import annotations

from typing import Any, Final

import botocore.session
from botocore.config import Config

_NOTHING: Final = (None, None, None, None)
_NOT_THE_USER_S: Final = dict.fromkeys(("profile", "config_file", "credentials_file"), _NOTHING)


def session() -> botocore.session.Session:
    """Return a session in which a profile that does not exist, or a broken file in `~/.aws`, does no harm."""
    return botocore.session.Session(session_vars=_NOT_THE_USER_S)


def client(
    service: str, *, endpoint_url: str, region: str, access_key: str, secret_key: str, read_timeout: float
) -> Any:
    """Return a client of an emulator's service; an answer may take `read_timeout` seconds."""
    return session().create_client(
        service,
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            retries={"max_attempts": 2},
            proxies={},
            connect_timeout=5,
            read_timeout=read_timeout,
            s3={"addressing_style": "path"},
        ),
    )

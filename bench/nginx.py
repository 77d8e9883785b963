"""A TLS server on loopback that is faster than any client: nginx, which answers posts without reading them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; multi_accept on; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{ return 200; }}
        location ~ "00=$" {{ return {hundredth}; }}
    }}
}}
"""


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    certificate: Path


def require(*programs: str) -> None:
    """Exit with a message that names the packages to install, if a program is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        packages = " ".join({"nginx": "nginx-light"}.get(program, program) for program in missing)
        sys.exit(f"{' and '.join(missing)} not found; on Debian and Ubuntu: apt-get install {packages}")


@contextmanager
def running(core: int, *, hundredth: int = 200) -> Iterator[Server]:
    """Run nginx on one core; `hundredth` is its answer to each hundredth connection, whose id ends with `00=`."""
    require("nginx", "openssl")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make_certificate(folder)
        port = free_port()
        (folder / "nginx.conf").write_text(_CONFIGURATION.format(folder=folder, port=port, hundredth=hundredth))
        process = subprocess.Popen(
            ["nginx", "-p", name, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")],
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509  # before any thread is started here
        )
        try:
            wait_until_open(port, process)
            yield Server(f"https://localhost:{port}", folder / "certificate.pem")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _make_certificate(folder: Path) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run([*command.split(), *files], cwd=folder, check=True, capture_output=True)


def free_port() -> int:
    """Return a port of the loopback address that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process that was just started listens on a port."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit("a server did not start")

"""The management API of a URL, and the pool that a Poster opens for it."""

from __future__ import annotations

from typing import Any

import pytest

from realtime.posting import http_pool
from realtime.posting.api import Api, make_poster
from realtime.posting.pacing import TokenBucket
from tests.support.posters import Frozen

QUOTA = TokenBucket(1, burst=1)


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://localhost", "https://"])
def test_a_url_that_is_not_of_a_management_api_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="management API"):
        Api(url)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Note with what each pool is opened."""
    opened: list[tuple[str, dict[str, Any]]] = []

    def open_pool(origin: str, **settings: Any) -> object:
        opened.append((origin, settings))
        return object()

    monkeypatch.setattr(http_pool, "HttpPool", open_pool)
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    return opened


def test_a_post_may_take_two_seconds_and_a_connection_one(opened: list[tuple[str, dict[str, Any]]]) -> None:
    assert make_poster("http://localhost:8080/path", "eu-west-1", Frozen, quota=QUOTA).pool is not None
    settings = {"connect_timeout_s": 1.0, "timeout_s": 2.0, "ca_bundle": None}
    assert opened == [("http://localhost:8080", settings)]


def test_certificates_are_checked_against_the_first_bundle_that_is_named(
    opened: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bundle(**settings: Any) -> str:
        assert make_poster("https://api.example", "eu-west-1", Frozen, quota=QUOTA, **settings).pool is not None
        name: str = opened[-1][1]["ca_bundle"]
        return name

    assert bundle().endswith("cacert.pem")  # botocore's own
    monkeypatch.setenv("AWS_CA_BUNDLE", "environment.pem")
    assert bundle() == "environment.pem"
    assert bundle(ca_bundle="given.pem") == "given.pem"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://h.example:80", "h.example"),
        ("https://h.example:443", "h.example"),
        ("http://h.example:443", "h.example:443"),
        ("https://h.example:80", "h.example:80"),
    ],
)
def test_the_host_has_a_port_only_if_it_is_not_that_of_the_scheme(url: str, host: str) -> None:
    assert Api(url).host == host


@pytest.mark.parametrize(
    ("stage", "connection_id", "path"),
    [
        ("feed", "a=", "/BOX/feed/@connections/a%3D"),
        ("feed", "a/b", "/BOX/feed/@connections/a%2Fb"),
        ("a/b", "a=", "/BOX/a%2Fb/@connections/a%3D"),
        ("feed", ".", "/BOX/feed/@connections/%2E"),  # otherwise it would leave the folder
        ("feed", "..", "/BOX/feed/@connections/%2E%2E"),
        ("feed", "...", "/BOX/feed/@connections/..."),
    ],
)
def test_a_stage_and_a_connection_are_one_segment_of_the_path_each(stage: str, connection_id: str, path: str) -> None:
    assert Api("http://h.example/BOX/").paths(stage, connection_id)[0] == path

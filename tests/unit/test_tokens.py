from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import example, given
from hypothesis import strategies as st

from realtime.cached_keys import MIN_REFRESH_SECONDS, SERVE_ON_SECONDS
from realtime.errors import AuthFailed, PermissionDenied, Unavailable
from realtime.text import is_unstorable
from realtime.tokens import LEEWAY_SECONDS, Identity, PublishedKeys, Tokens
from tests.samples import code_points
from tests.unit.fakes import Clock

OLD, NEW = "the secret that was in use before", "the secret that is in use from now on"
IN_AN_HOUR = int(time.time()) + 3600
MONTH = 30 * 86_400

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
RSA_PUBLIC_PEM = RSA.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


class Shared:
    """The HS256 secrets by key id; without a key id, all of them."""

    def __init__(self, **keys: str) -> None:
        self._keys = keys

    def candidates(self, kid: str | None) -> list[str]:
        if kid is None:
            return list(self._keys.values())
        return [self._keys[kid]] if kid in self._keys else []


class Published:
    """The keys that a JWKS URL publishes."""

    def __init__(self, *, broken: Exception | None = None) -> None:
        self._broken = broken
        self.keys = {
            "rsa": jwt.PyJWK({**jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "rsa"}),
            "ec": jwt.PyJWK({**jwt.algorithms.ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "ec"}),
        }

    def get_signing_key(self, kid: str) -> Any:
        if self._broken:
            raise self._broken
        if kid not in self.keys:
            raise jwt.PyJWKClientError(f'Unable to find a signing key that matches: "{kid}"')
        return self.keys[kid]


def signed(key: Any = NEW, *, alg: str = "HS256", kid: str | None = "new", without: str = "", **claims: Any) -> str:
    payload = {"sub": "123", "exp": IN_AN_HOUR, **claims}
    payload.pop(without, None)
    return jwt.encode(payload, key, algorithm=alg, headers={"kid": kid} if kid is not None else {})


def forged(header: object, payload: object, signature: str = "") -> str:
    """Return a token that no library would make."""
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, payload))
    return ".".join((*parts, signature))


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(Shared(old=OLD, new=NEW), Published(), max_seconds=MONTH)


@contextmanager
def refused(reason: str) -> Iterator[None]:
    with pytest.raises(AuthFailed) as caught:
        yield
    assert caught.value.reason == reason
    assert caught.value.message == "Invalid or expired token"  # the client does not learn the reason
    assert caught.value.status == 401


def test_a_valid_token_proves_an_identity(tokens: Tokens) -> None:
    token = signed(username="jane_smith", role="listener", scope="feed calls")
    assert tokens.verify(token) == Identity(
        "123", IN_AN_HOUR - MONTH, IN_AN_HOUR, frozenset({"feed", "calls"}), "jane_smith", "listener"
    )


def test_a_token_without_a_scope_opens_all_endpoints(tokens: Tokens) -> None:
    assert tokens.verify(signed()) == Identity(
        "123", IN_AN_HOUR - MONTH, IN_AN_HOUR, frozenset({"feed", "presence", "calls", "notifications"}), None, None
    )


def test_a_scope_may_be_a_list_as_some_identity_providers_write_it(tokens: Tokens) -> None:
    assert tokens.verify(signed(scope=["feed", "calls"])).endpoints == frozenset({"feed", "calls"})


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        ("openid profile email", "the scope of user 123 names none of the endpoints, not feed"),
        ("openid calls presence", "the scope of user 123 names calls, presence, not feed"),
    ],
)
def test_a_scope_without_the_endpoint_is_refused_with_what_it_names(tokens: Tokens, scope: str, reason: str) -> None:
    with pytest.raises(PermissionDenied) as caught:
        tokens.verify(signed(scope=scope)).check_endpoint("feed")
    assert caught.value.reason == reason


def test_an_empty_scope_opens_no_endpoint(tokens: Tokens) -> None:
    assert tokens.verify(signed(scope="")).endpoints == frozenset()


@pytest.mark.parametrize(("sub", "user_id"), [(123, "123"), ("123", "123"), ("a1b2-c3", "a1b2-c3")])
def test_user_ids_are_numbers_or_words(tokens: Tokens, sub: object, user_id: str) -> None:
    assert tokens.verify(signed(sub=sub)).user_id == user_id


@pytest.mark.parametrize(("kid", "key"), [("new", NEW), ("old", OLD)])
def test_during_a_rotation_both_keys_are_valid_under_their_own_ids(tokens: Tokens, kid: str, key: str) -> None:
    assert tokens.verify(signed(key, kid=kid)).user_id == "123"


@pytest.mark.parametrize("key", [NEW, OLD])
def test_a_token_without_a_key_id_may_be_signed_with_any_secret(tokens: Tokens, key: str) -> None:
    assert tokens.verify(signed(key, kid=None)).user_id == "123"


def test_a_key_is_refused_under_the_id_of_another(tokens: Tokens) -> None:
    with refused("InvalidSignatureError"):
        tokens.verify(signed(OLD, kid="new"))


def test_an_unknown_key_id_is_refused(tokens: Tokens) -> None:
    with refused("no key for its alg and kid"):
        tokens.verify(signed(NEW, kid="newer"))


@pytest.mark.parametrize(("alg", "key", "kid"), [("RS256", RSA, "rsa"), ("ES256", EC, "ec")])
def test_published_keys_verify_rs256_and_es256(tokens: Tokens, alg: str, key: Any, kid: str) -> None:
    assert tokens.verify(signed(key, alg=alg, kid=kid)).user_id == "123"


@pytest.mark.parametrize(
    ("alg", "kid", "reason"),
    [
        ("RS256", "gone", "PyJWKClientError"),
        ("RS256", None, "no key for its alg and kid"),
        ("RS256", "ec", "InvalidAlgorithmError"),  # a key is valid for its own algorithm only
        ("RS512", "rsa", "no key for its alg and kid"),
    ],
)
def test_a_published_key_must_be_named_and_of_the_same_algorithm(
    tokens: Tokens, alg: str, kid: str | None, reason: str
) -> None:
    with refused(reason):
        tokens.verify(signed(RSA, alg=alg, kid=kid))


@pytest.mark.parametrize("kid", ["rsa", "new", None])
def test_a_public_key_is_not_accepted_as_a_shared_secret(tokens: Tokens, kid: str | None) -> None:
    """RFC 8725 2.1: an attacker signs HS256 with the public key, hoping that it is used as the secret."""
    header = {"alg": "HS256", "typ": "JWT", **({"kid": kid} if kid else {})}
    unsigned = forged(header, {"sub": "123", "exp": IN_AN_HOUR}).rstrip(".")
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        unsigned.encode(), RSA_PUBLIC_PEM
    )
    token = f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    with pytest.raises(AuthFailed) as caught:
        tokens.verify(token)
    assert caught.value.reason in {"InvalidSignatureError", "no key for its alg and kid"}


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, 1, ["HS256"], {"HS256": 1}])
@pytest.mark.parametrize("kid", ["new", "rsa", None])
def test_unsigned_tokens_and_unknown_algorithms_are_refused(tokens: Tokens, alg: object, kid: str | None) -> None:
    token = forged({"alg": alg, "typ": "JWT", "kid": kid} if kid else {"alg": alg}, {"sub": "1", "exp": IN_AN_HOUR})
    with refused("no key for its alg and kid"):
        tokens.verify(token)


def test_a_family_of_algorithms_is_refused_if_its_keys_are_not_configured() -> None:
    with refused("no key for its alg and kid"):
        Tokens(None, Published(), max_seconds=MONTH).verify(signed())
    with refused("no key for its alg and kid"):
        Tokens(Shared(new=NEW), None, max_seconds=MONTH).verify(signed(RSA, alg="RS256", kid="rsa"))


def test_other_hmac_algorithms_are_refused_though_the_secret_fits(tokens: Tokens) -> None:
    with refused("no key for its alg and kid"):
        tokens.verify(signed("x" * 16 + NEW * 2, alg="HS512"))


def test_a_token_that_has_expired_is_refused(tokens: Tokens) -> None:
    with refused("ExpiredSignatureError"):
        tokens.verify(signed(exp=int(time.time()) - LEEWAY_SECONDS - 1))


def test_clocks_may_differ_a_little(tokens: Tokens) -> None:
    assert tokens.verify(signed(exp=int(time.time()) - LEEWAY_SECONDS // 2)).user_id == "123"


@pytest.mark.parametrize("exp", [1_705_314_600_000, 10**11, 10**30, 4e12])
def test_an_expiry_in_milliseconds_is_refused_with_that_reason(tokens: Tokens, exp: float) -> None:
    with pytest.raises(AuthFailed, match="is it in milliseconds"):
        tokens.verify(signed(exp=exp))


def test_a_token_that_is_good_for_longer_than_allowed_is_refused_with_that_reason(tokens: Tokens) -> None:
    now = int(time.time())
    assert tokens.verify(signed(exp=now + MONTH)).expires_at_s == now + MONTH
    with refused("exp is 31 days ahead, more than MaxTokenSeconds allows"):
        tokens.verify(signed(exp=now + MONTH + 86_400 + 60))


def test_a_token_may_be_good_for_exactly_as_long_as_allowed_and_the_leeway(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    monkeypatch.setattr(time, "time", lambda: now + 0.9)
    last = now + MONTH + LEEWAY_SECONDS
    assert tokens.verify(signed(exp=last)).expires_at_s == last
    with refused("exp is 30 days ahead, more than MaxTokenSeconds allows"):
        tokens.verify(signed(exp=last + 1))


def test_an_expiry_more_than_a_thousand_years_ahead_counts_as_milliseconds(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    monkeypatch.setattr(time, "time", lambda: now + 0.9)
    years = now + LEEWAY_SECONDS + 1000 * 366 * 86_400
    with refused("exp is 366000 days ahead, more than MaxTokenSeconds allows"):
        tokens.verify(signed(exp=years))
    with refused(
        "exp is 366000 days ahead, more than MaxTokenSeconds allows: is it in milliseconds? it must be in seconds"
    ):
        tokens.verify(signed(exp=years + 1))


def test_a_token_says_when_it_was_issued(tokens: Tokens) -> None:
    now = int(time.time())
    assert tokens.verify(signed(iat=now - 60)).issued_at_s == now - 60


def test_a_token_that_does_not_say_when_counts_as_issued_as_early_as_it_can_have_been(tokens: Tokens) -> None:
    assert tokens.verify(signed()).issued_at_s == IN_AN_HOUR - MONTH


def test_a_time_of_issue_before_all_time_counts_as_the_beginning(tokens: Tokens) -> None:
    assert tokens.verify(signed(iat=-(10**50))).issued_at_s == 0


@pytest.mark.parametrize("claim", ["exp", "sub"])
def test_expiry_and_subject_are_required(tokens: Tokens, claim: str) -> None:
    with refused("MissingRequiredClaimError"):
        tokens.verify(signed(without=claim))


NAME = "must be a string of 1 to 256 characters, with no control character, noncharacter or half of a character"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": "soon"}, "DecodeError"),
        ({"exp": [IN_AN_HOUR]}, "DecodeError"),
        ({"exp": float("inf")}, "DecodeError"),
        ({"nbf": IN_AN_HOUR}, "ImmatureSignatureError"),
        ({"scope": 5}, "scope is neither a string nor a list of strings"),
        ({"scope": ["feed", 5]}, "scope is neither a string nor a list of strings"),
        ({"username": 7}, f"username {NAME}"),
        ({"username": "x" * 257}, f"username {NAME}"),
        ({"role": {}}, f"role {NAME}"),
        ({"username": "a\ufffe"}, f"username {NAME}"),
        ({"username": "a\nb"}, f"username {NAME}"),
        ({"role": "\ud800"}, f"role {NAME}"),
    ],
)
def test_claims_of_the_wrong_type_are_refused(tokens: Tokens, claims: dict[str, Any], reason: str) -> None:
    with refused(reason):
        tokens.verify(signed(**claims))


ODD_TIMES = ["null", "{}", "[1]", '""', "Infinity", "-Infinity", "NaN", "1e400", f"1{'0' * 400}", "9" * 5000]


@pytest.mark.parametrize(("alg", "key", "kid"), [("HS256", NEW, "new"), ("RS256", RSA, "rsa")])
@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("time_", ODD_TIMES, ids=lambda text: text[:9])
def test_a_signed_time_that_is_none_is_refused(
    tokens: Tokens, claim: str, time_: str, alg: str, key: Any, kid: str
) -> None:
    claims = {"sub": '"123"', "exp": str(IN_AN_HOUR), claim: time_}
    payload = "{" + ",".join(f'"{name}":{value}' for name, value in claims.items()) + "}"
    token = jwt.PyJWS().encode(payload.encode(), key, algorithm=alg, headers={"kid": kid})
    with pytest.raises(AuthFailed) as caught:
        tokens.verify(token)
    assert caught.value.reason


@pytest.mark.parametrize("sub", ["", "a/b", "a b", True, 1.5, [], {}, "x" * 129, 10**200, "a\x85"])
def test_an_invalid_user_id_as_subject_is_refused(tokens: Tokens, sub: object) -> None:
    with refused("sub must be a whole number, or 1 to 128 characters with no '/', space or control character"):
        tokens.verify(signed(sub=sub))


@pytest.mark.parametrize("sub", ["\ud800", "a\udfff", "\ufffe", "a\uffff", "\ufdd0", "\U0010ffff"], ids=code_points)
def test_a_subject_with_unstorable_characters_is_refused(tokens: Tokens, sub: str) -> None:
    with pytest.raises(AuthFailed, match=r"sub must be .* no half of a character"):
        tokens.verify(signed(sub=sub))


def test_issuer_and_audience_are_checked_if_configured() -> None:
    tokens = Tokens(Shared(new=NEW), None, max_seconds=MONTH, issuer="https://id.example.com", audience="realtime")
    assert tokens.verify(signed(iss="https://id.example.com", aud="realtime")).user_id == "123"
    assert tokens.verify(signed(iss="https://id.example.com", aud=["other", "realtime"])).user_id == "123"
    for claims, reason in (
        ({"aud": "realtime"}, "MissingRequiredClaimError"),
        ({"iss": "https://id.example.com"}, "MissingRequiredClaimError"),
        ({"iss": "https://evil.example.com", "aud": "realtime"}, "InvalidIssuerError"),
        ({"iss": "https://id.example.com", "aud": "other"}, "InvalidAudienceError"),
    ):
        with refused(reason):
            tokens.verify(signed(**claims))


def test_issuer_and_audience_are_ignored_if_not_configured(tokens: Tokens) -> None:
    assert tokens.verify(signed(iss="anyone", aud="anything")).user_id == "123"


@pytest.mark.parametrize("token", [None, ""])
def test_a_missing_token_is_refused(tokens: Tokens, token: str | None) -> None:
    with refused("no token"):
        tokens.verify(token)


def test_a_tampered_token_is_refused(tokens: Tokens) -> None:
    header, payload, signature = signed().split(".")
    other = forged({}, {"sub": "456", "exp": IN_AN_HOUR}).split(".")[1]
    with refused("InvalidSignatureError"):
        tokens.verify(f"{header}.{other}.{signature}")
    with refused("DecodeError"):
        tokens.verify(f"{header}.{payload}")
    with refused("InvalidSignatureError"):
        tokens.verify(f"{header}.{payload}.")


def test_a_deeply_nested_header_is_refused(tokens: Tokens) -> None:
    deep = base64.urlsafe_b64encode(b"[" * 3000).decode()
    with refused("DecodeError"):
        tokens.verify(f"{deep}.e30.")


@given(st.text(st.characters(exclude_categories=())))  # lone surrogates too
@example("\ud800")
def test_any_text_as_token_is_refused_without_another_error(tokens: Tokens, text: str) -> None:
    with pytest.raises(AuthFailed):
        tokens.verify(text)


TEXT = st.text(st.characters(exclude_categories=()), max_size=10)  # lone surrogates too
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
NAMES = ["alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5u"]
HEADER = st.dictionaries(
    st.sampled_from(NAMES), JSON | st.sampled_from(["HS256", "RS256", "ES256", "none", "new", "rsa", "ec"])
)


@given(HEADER | JSON, JSON, st.text("Aa0-_=", max_size=8))
def test_any_unsigned_token_is_refused_without_another_error(
    tokens: Tokens, header: object, payload: object, signature: str
) -> None:
    with pytest.raises(AuthFailed):
        tokens.verify(forged(header, payload, signature))


CLAIMS = st.dictionaries(
    st.sampled_from(["exp", "sub", "nbf", "iat", "jti", "iss", "aud", "scope", "username", "role"]), JSON
)


@given(CLAIMS)
def test_any_claims_of_a_signed_token_are_accepted_or_refused(tokens: Tokens, claims: dict[str, Any]) -> None:
    """Not even a client that knows the secret can break the service."""
    payload = {"sub": "123", "exp": IN_AN_HOUR, **claims}
    if isinstance(payload.get("iss"), str) or "iss" not in payload:
        token = jwt.encode(payload, NEW, algorithm="HS256")
    else:  # PyJWT refuses to encode it
        token = jwt.PyJWS().encode(json.dumps(payload).encode(), NEW, algorithm="HS256")
    try:
        identity = tokens.verify(token)
    except AuthFailed:
        return
    assert not any(is_unstorable(each) for each in (identity.user_id, identity.username or "", identity.role or ""))
    assert identity.expires_at_s > time.time() - LEEWAY_SECONDS - 1


def test_a_refusal_quotes_no_part_of_the_token(tokens: Tokens) -> None:
    token = signed(OLD, username="jane_smith", kid="new")
    with pytest.raises(AuthFailed) as caught:
        tokens.verify(token)
    text = f"{caught.value} {caught.value.message} {caught.value.reason}"
    assert not any(part in text for part in token.split("."))
    assert "jane_smith" not in text


class Jwks:
    """A JWKS at a URL, and how often it was fetched."""

    def __init__(self, *names: str) -> None:
        self.answer: Any = {"keys": [JWKS[name] for name in names]}
        self.fetches = 0

    def __call__(self) -> Any:
        self.fetches += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


JWKS = {
    "rsa": {**jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "rsa"},
    "ec": {**jwt.algorithms.ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "ec"},
}
URL = "https://id.example.com/jwks"
BY_RSA, BY_EC = signed(RSA, alg="RS256", kid="rsa"), signed(EC, alg="ES256", kid="ec")
AWAY: dict[str, Any] = {
    "no answer": jwt.PyJWKClientConnectionError("timed out"),
    "no JSON": json.JSONDecodeError("Expecting value", "<html>", 0),
    "too deep": RecursionError(),
    "nothing": {},
    "no keys": {"keys": []},
    "no list": {"keys": "none"},
    "no key of a kind": {"keys": [7, None, {"kty": "RSA"}, {"kty": "none", "kid": "rsa"}]},
    "no key that signs": {"keys": [{**JWKS["rsa"], "kid": ""}, {**JWKS["ec"], "use": "enc"}]},
}


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
def test_clients_are_told_at_once_to_try_again_while_no_key_can_be_read(away: Any) -> None:
    clock, jwks = Clock(), Jwks("rsa")
    good, jwks.answer = jwks.answer, away
    tokens = Tokens(None, PublishedKeys(URL, jwks, clock), max_seconds=MONTH)
    for _ in range(10):
        with pytest.raises(Unavailable):
            tokens.verify(BY_RSA)
    assert jwks.fetches == 1
    clock.now += 5
    jwks.answer = good
    assert tokens.verify(BY_RSA).user_id == "123"


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
def test_cached_published_keys_stay_valid_for_an_hour(away: Any) -> None:
    clock, jwks = Clock(), Jwks("rsa")
    tokens = Tokens(None, PublishedKeys(URL, jwks, clock), max_seconds=MONTH)
    assert tokens.verify(BY_RSA).user_id == "123"
    jwks.answer = away
    clock.now += SERVE_ON_SECONDS
    for _ in range(10):
        assert tokens.verify(BY_RSA).user_id == "123"
    assert jwks.fetches == 2, "the next attempt comes later"
    clock.now += MIN_REFRESH_SECONDS
    with pytest.raises(Unavailable):
        tokens.verify(BY_RSA)


def test_a_new_published_key_is_valid_at_once() -> None:
    clock, jwks = Clock(), Jwks("rsa")
    tokens = Tokens(None, PublishedKeys(URL, jwks, clock), max_seconds=MONTH)
    tokens.verify(BY_RSA)
    clock.now += 10
    jwks.answer = {"keys": [JWKS["ec"]]}
    assert tokens.verify(BY_EC).user_id == "123"
    with refused("PyJWKClientError"):
        tokens.verify(BY_RSA)


def test_a_client_with_an_unknown_key_id_is_told_to_try_again() -> None:
    clock, jwks = Clock(), Jwks("rsa")
    tokens = Tokens(None, PublishedKeys(URL, jwks, clock), max_seconds=MONTH)
    tokens.verify(BY_RSA)
    clock.now += 10
    with refused("PyJWKClientError"):
        tokens.verify(signed(RSA, alg="RS256", kid="made up"))
    clock.now += 10
    with pytest.raises(Unavailable):
        tokens.verify(BY_EC)
    clock.now += 20
    jwks.answer = {"keys": [JWKS["ec"]]}
    assert tokens.verify(BY_EC).user_id == "123"


def test_many_waiting_threads_share_one_fetch() -> None:
    everybody_waits, jwks = threading.Event(), Jwks("rsa")

    def fetch() -> Any:
        assert everybody_waits.wait(10)
        return jwks()

    keys = PublishedKeys(URL, fetch, Clock())
    with ThreadPoolExecutor(8) as clients:
        waiting = [clients.submit(keys.get_signing_key, "rsa") for _ in range(8)]
        everybody_waits.set()
        assert {each.result(10).key_id for each in waiting} == {"rsa"}
    assert jwks.fetches == 1


@pytest.mark.parametrize("kid", ["a\ufffe", "\ud800", "x" * 257])
def test_a_key_id_with_unstorable_characters_is_refused(tokens: Tokens, kid: str) -> None:
    with refused(f"kid {NAME}"):
        tokens.verify(signed(kid=kid))


def test_a_published_key_that_is_marked_for_signing_signs() -> None:
    jwks = Jwks()
    jwks.answer = {"keys": [{**JWKS["rsa"], "use": "sig"}, JWKS["ec"]]}
    tokens = Tokens(None, PublishedKeys(URL, jwks, Clock()), max_seconds=MONTH)
    assert tokens.verify(BY_RSA).user_id == tokens.verify(BY_EC).user_id == "123"


def test_published_keys_are_fetched_from_their_url_and_a_slow_server_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetched: list[tuple[str, float]] = []

    def answer(_: object, request: Any, timeout: float) -> io.BytesIO:
        fetched.append((request.full_url, timeout))
        return io.BytesIO(json.dumps({"keys": [JWKS["rsa"]]}).encode())

    monkeypatch.setattr("urllib.request.OpenerDirector.open", answer)
    assert Tokens(None, PublishedKeys(URL), max_seconds=MONTH).verify(BY_RSA).user_id == "123"
    assert fetched == [(URL, 1.5)]  # s; a handshake waits for it


def test_published_keys_that_cannot_be_fetched_are_named_by_their_url() -> None:
    jwks = Jwks()
    jwks.answer = AWAY["no answer"]
    keys = PublishedKeys(URL, jwks, Clock())
    with pytest.raises(Unavailable):
        keys.get_signing_key("rsa")
    with pytest.raises(Unavailable, match=f"^the JWKS {URL}: the last attempt"):
        keys.get_signing_key("rsa")

from __future__ import annotations

import pytest

from realtime import errors


@pytest.mark.parametrize(
    ("error", "code", "status", "message"),
    [
        (errors.AuthFailed, "AUTH_FAILED", 401, "Invalid or expired token"),
        (errors.PermissionDenied, "PERMISSION_DENIED", 403, "Insufficient permissions"),
        (errors.ConnectionLimit, "CONNECTION_LIMIT", 429, "Maximum connections reached"),
        (errors.RateLimited, "RATE_LIMITED", 429, "Too many requests"),
        (errors.BadRequest, "BAD_REQUEST", 400, "Malformed message"),
        (errors.Internal, "INTERNAL", 500, "Something went wrong on our side; try again"),
    ],
)
def test_every_client_error_has_a_stable_code_and_its_documented_message(
    error: type[errors.ClientError], code: str, status: int, message: str
) -> None:
    assert (error.code, error.status, error().message) == (code, status, message)


def test_the_reason_is_for_the_log_and_the_message_for_the_client() -> None:
    problem = errors.AuthFailed(reason="no token")
    assert str(problem) == "AUTH_FAILED: no token"
    assert problem.message == "Invalid or expired token"


def test_without_a_reason_the_log_has_the_message() -> None:
    assert str(errors.BadRequest("data: must be a JSON object")) == "BAD_REQUEST: data: must be a JSON object"


def test_the_map_in_the_module_names_every_error() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 10
    assert errors.__doc__ is not None
    assert [kind.__name__ for kind in kinds if kind.__name__ not in errors.__doc__] == []


def test_all_errors_have_one_base_class() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert all(issubclass(kind, errors.RealtimeError) for kind in kinds)

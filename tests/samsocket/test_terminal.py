"""What a developer sees while the tool runs."""

from __future__ import annotations

import pytest

from samsocket.errors import StartError
from samsocket.terminal import Terminal


@pytest.mark.parametrize(
    ("error", "line"), [(StartError("no template"), "✗ no template"), (KeyError("x"), "✗ KeyError: 'x'")]
)
def test_whatever_goes_wrong_with_a_change_is_told_and_does_not_end_the_run(
    capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    with Terminal().errors():
        raise error
    assert capsys.readouterr().out == f"{line}\n"


def test_each_function_has_a_colour_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("click.style", lambda text, fg: f"{fg} {text}")
    terminal = Terminal()
    for _ in range(8):
        terminal.function("One", "line")
    terminal.function("Two", "line")
    first, *_, last = capsys.readouterr().out.splitlines()
    assert (first, last) == ("cyan One | line", "magenta Two | line")

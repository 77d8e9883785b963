"""The report on mutants: the killed ones, the survivors, and the explained survivors."""

from __future__ import annotations

import pytest

from tools.mutants import Mutant, read_explanations, report

MUTANT = Mutant("realtime.ids.x_whole__mutmut_3", "return int(value)", "return None")


def explanation(**changes: str) -> str:
    table = {"module": "realtime.ids", "before": "return int(value)", "reason": "a reason"} | changes
    return "[[survivor]]\n" + "\n".join(f"{key} = '{value}'" for key, value in table.items())


@pytest.mark.parametrize(
    "changes",
    [{}, {"after": "return None"}, {"module": "realtime\\..*"}, {"before": "/return .*/"}, {"after": "/.*None/"}],
)
def test_an_explanation_covers_the_change_that_it_describes(changes: dict[str, str]) -> None:
    (one,) = read_explanations(explanation(**changes))
    assert one.covers(MUTANT)


@pytest.mark.parametrize(
    "changes",
    [{"after": "return 0"}, {"module": "realtime.id"}, {"before": "return int"}, {"before": "/return/"}],
)
def test_an_explanation_covers_nothing_else(changes: dict[str, str]) -> None:
    (one,) = read_explanations(explanation(**changes))
    assert not one.covers(MUTANT)


def codes(killed: int, survived: int = 1) -> dict[str, int | None]:
    return (
        {MUTANT.name: 0}
        if survived and not killed
        else {
            **{f"realtime.ids.x_whole__mutmut_{number + 100}": 1 for number in range(killed)},
            **({MUTANT.name: 0} if survived else {}),
        }
    )


def test_a_survivor_without_an_explanation_fails_the_run_and_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert not report(codes(killed=99), [MUTANT], [])
    assert "- return int(value)\n+ return None" in capsys.readouterr().out


def test_a_small_number_of_explained_survivors_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(codes(killed=19), [MUTANT], read_explanations(explanation()))
    assert not report(codes(killed=18), [MUTANT], read_explanations(explanation()))
    assert "94.7% of 19 mutants killed" in capsys.readouterr().out


def test_an_explanation_of_nothing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    report(codes(killed=1, survived=0), [], read_explanations(explanation()))
    assert "explains nothing any more: realtime.ids" in capsys.readouterr().out


def test_mutants_that_were_not_tried_do_not_count_as_killed(capsys: pytest.CaptureFixture[str]) -> None:
    report({**codes(killed=1, survived=0), "realtime.ids.x_whole__mutmut_7": None}, [], [])
    out = capsys.readouterr().out
    assert "100.0%" in out
    assert "1 not tried" in out

"""The report on mutants: the killed ones, the survivors, and the explained survivors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import mutants
from tools.mutants import Mutant, forget, interval, read_explanations, report, results

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


def test_mutants_killed_by_the_time_limit_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert report({"realtime.ids.x_whole__mutmut_1": 1, "realtime.ids.x_whole__mutmut_2": -24}, [], [])
    assert "100.0% of 2 mutants killed, 1 of them by the time limit" in capsys.readouterr().out


def test_only_what_is_forgotten_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "STAGE", tmp_path)
    meta = tmp_path / "mutants" / "realtime" / "ids.py.meta"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"exit_code_by_key": {"one": 0, "other": 1}, "durations_by_key": {}}))
    forget(["one", "of another module"])
    assert results() == {"one": None, "other": 1}
    assert "durations_by_key" in json.loads(meta.read_text())


@pytest.mark.parametrize(
    ("hits", "tries", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_a_sample_says_between_which_shares_that_of_all_lies(hits: int, tries: int, low: float, high: float) -> None:
    assert interval(hits, tries) == pytest.approx((low, high), abs=0.0001)

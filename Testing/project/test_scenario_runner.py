"""The runner of the scenarios for the Slicer application, with small programs instead of Slicer."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import SkipTest

import pytest
from paths import TESTING

FOLDER = TESTING / "slicer_application"


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    from application_scenarios import runner

    return runner


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import scenarios

    return scenarios


def program(text: str, place: Path) -> list[str]:
    """Return a command that notes in a record what a part did; `end` ends the program."""
    head = (
        "import os, sys, time; from pathlib import Path; from unittest import SkipTest\n"
        f"sys.path.insert(0, {str(FOLDER)!r})\n"
        "from application_scenarios import runner\n"
        f"record = runner.Record(Path({str(place)!r}) / runner.RESULT)\n"
        "def end(action, look=lambda: None): sys.exit(runner.run_part(record, action, look))\n"
    )
    return [sys.executable, "-c", head + text]


PASSES = "record.step('one', 'a/01.png'); record.figure('longest', 3); end(lambda: None)"
FAILS = "record.step('one')\ndef action(): raise AssertionError('not so')\nend(action)"
SKIPS = "def action(): raise SkipTest('needs a window')\nend(action)"
LOGS = "def look(): raise AssertionError('the log has a warning')\nend(lambda: None, look)"
CRASHES = "record.step('one'); print('last words', flush=True); os.kill(os.getpid(), 9)"
HANGS = "record.step('one'); time.sleep(60)"
LEAVES_NOTHING = "(Path(record._path)).unlink(); print('no module'); sys.exit(1)"
DIES_AS_IT_SHOULD = "record.step('one'); record.end(runner.PASSED); os.kill(os.getpid(), 9)"
SAYS_PASSED_BUT_FAILS_AT_THE_END = "record.end(runner.PASSED); sys.exit(139)"


def run(runner, tmp_path, *texts, killed=(), limit_s=20.0):
    parts = tuple(
        runner.Part("none", "none", is_killed=number in killed) for number in range(len(texts))
    )
    scenario = runner.Scenario("a scenario", parts)

    def start(name, number, place):
        return program(texts[number - 1], place)

    return runner.run_scenario("it", scenario, tmp_path, start, limit_s=limit_s)


def test_a_part_that_passes_leaves_steps_pictures_and_figures(runner, tmp_path):
    result = run(runner, tmp_path, PASSES)

    assert (result.status, result.message) == (runner.PASSED, "")
    assert (result.steps, result.pictures) == (["one"], ["a/01.png"])
    assert result.figures == {"longest": 3}
    assert result.seconds > 0


def test_a_failure_has_its_traceback_and_what_was_done_before(runner, tmp_path):
    result = run(runner, tmp_path, FAILS)

    assert result.status == runner.FAILED
    assert result.message.startswith("Traceback")
    assert "AssertionError: not so" in result.message
    assert result.steps == ["one"]


def test_a_part_is_skipped_with_its_reason(runner, tmp_path):
    result = run(runner, tmp_path, SKIPS, PASSES)

    assert (result.status, result.message) == (runner.SKIPPED, "needs a window")
    assert result.steps == []


def test_what_the_log_says_makes_a_part_fail(runner, tmp_path):
    assert "the log has a warning" in run(runner, tmp_path, LOGS).message


def test_a_crash_is_told_with_the_last_lines(runner, tmp_path):
    result = run(runner, tmp_path, CRASHES)

    assert result.status == runner.FAILED
    assert "did not come to its end" in result.message
    assert "last words" in result.message
    assert result.steps == ["one"]


def test_a_slicer_that_hangs_is_stopped(runner, tmp_path):
    began = time.monotonic()

    result = run(runner, tmp_path, HANGS, limit_s=3.0)

    assert result.status == runner.FAILED
    assert "stopped after 3 s" in result.message
    assert time.monotonic() - began < 20


def test_a_slicer_that_does_not_come_so_far_is_told(runner, tmp_path):
    message = run(runner, tmp_path, LEAVES_NOTHING).message

    assert "left no result" in message
    assert "no module" in message


def test_a_result_of_an_earlier_run_does_not_count(runner, tmp_path):
    run(runner, tmp_path, PASSES)

    assert run(runner, tmp_path, LEAVES_NOTHING).status == runner.FAILED


def test_a_program_that_cannot_be_started_is_a_failure_of_its_scenario(runner, tmp_path):
    scenario = runner.Scenario("a scenario", (runner.Part("none", "none"),))

    result = runner.run_scenario("it", scenario, tmp_path, lambda *_: ["/no/Slicer"])

    assert result.status == runner.FAILED
    assert "FileNotFoundError" in result.message


def test_parts_follow_each_other_until_one_fails(runner, tmp_path):
    assert run(runner, tmp_path, PASSES, PASSES).steps == ["one", "one"]
    assert run(runner, tmp_path, FAILS, PASSES).steps == ["one"]


def test_a_slicer_that_is_to_die_passes_only_if_it_does(runner, tmp_path):
    assert run(runner, tmp_path, DIES_AS_IT_SHOULD, PASSES, killed={0}).status == runner.PASSED
    lives_on = run(runner, tmp_path, PASSES, killed={0})
    assert lives_on.status == runner.FAILED
    assert "was to be killed" in lives_on.message


def test_a_bad_end_is_a_failure_although_everything_was_right(runner, tmp_path):
    result = run(runner, tmp_path, SAYS_PASSED_BUT_FAILS_AT_THE_END)

    assert result.status == runner.FAILED
    assert "ended with status 139" in result.message


@pytest.mark.parametrize(
    ("texts", "status", "first_line"),
    [
        ([PASSES, SKIPS], 0, "1 passed, 0 failed, 1 skipped"),
        ([FAILS, PASSES], 1, "1 passed, 1 failed, 0 skipped"),
        ([SKIPS], 1, "0 passed, 0 failed, 1 skipped"),
    ],
)
def test_the_summary_and_the_status_tell_what_came_out(
    runner, tmp_path, capsys, texts, status, first_line
):
    names = {f"number-{number}": text for number, text in enumerate(texts)}
    one = (runner.Part("none", "none"),)
    scenarios = {name: runner.Scenario("about it", one) for name in names}

    def start(name, number, place):
        return program(names[name], place)

    assert runner.run_all(scenarios, tmp_path, start) == status

    text = (tmp_path / "summary.txt").read_text(encoding="utf-8")
    document = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert text.startswith(first_line)
    assert list(document["scenarios"]) == list(names)
    assert document["passed"] + document["failed"] + document["skipped"] == len(texts)
    assert "about it" in capsys.readouterr().out


def test_slicers_own_options_are_given_on(script):
    command = ["Slicer", "--testing", "--python-script", "s.py", "--no-splash", "--", "--out", "x"]

    assert script.options_of(command) == ["--testing", "--no-splash"]
    assert script.options_of(["Slicer", "--python-script", "s.py"]) == []


def test_the_launcher_starts_slicer_where_there_is_one(script, tmp_path):
    launcher = tmp_path / "Slicer"
    launcher.touch()

    def application(path: str) -> SimpleNamespace:
        return SimpleNamespace(launcherExecutableFilePath=path, applicationFilePath=lambda: "real")

    assert script.executable(application(str(launcher))) == str(launcher)
    assert script.executable(application("")) == "real"


def test_the_names_are_listed_and_wrong_ones_refused(script, capsys, tmp_path):
    assert script.main(["--list"]) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == set(
        script.SCENARIOS
    )

    assert script.main(["--", "--out", str(tmp_path), "nonsense"]) == 2
    assert "no such scenario: nonsense" in capsys.readouterr().err
    assert script.main(["points"]) == 2
    assert "--out" in capsys.readouterr().err


def test_a_reader_without_a_window_skips(runner, tmp_path):
    record = runner.Record(tmp_path / "r.json")

    def action():
        raise SkipTest("needs Slicer's main window")

    assert runner.run_part(record, action, lambda: None) == 0
    assert json.loads((tmp_path / "r.json").read_text("utf-8"))["status"] == runner.SKIPPED

"""Script that does in Slicer what users do, with a picture of the window at every step.

    Slicer --python-script Testing/slicer_application/scenarios.py -- --out FOLDER [names...]

Each scenario runs in a Slicer of its own, which gets the options of this one: a crash is that
scenario's failure, and the next one goes on. FOLDER then has ``summary.txt``, ``summary.json``, and
for each scenario its pictures and what Slicer printed. The exit status is 0 only if none failed and
one passed. The Python of Slicer has to have torch already. If the extension is not installed in
this Slicer, this checkout is laid out in FOLDER and used; that needs CMake.

``--list`` prints the names.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))

from application_scenarios import runner  # noqa: E402
from application_scenarios.catalogue import SCENARIOS  # noqa: E402

SCRIPT_OPTION, REST = "--python-script", "--"
MODULE_PATHS = "--additional-module-paths"
MODULE = "MOISSAM2Segment"


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Return what was asked for on the command line, behind ``--``."""
    parser = argparse.ArgumentParser(
        prog="scenarios.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where results go")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument(
        "--limit", type=float, default=runner.LIMIT_S, help="seconds for one Slicer at most"
    )
    # For the Slicers that this script starts.
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", metavar="name", help="scenarios; all by default")
    chosen = parser.parse_args([one for one in given if one != REST])
    unknown = [name for name in chosen.names if name not in SCENARIOS]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}. There are: {', '.join(SCENARIOS)}")
    if chosen.out is None and not chosen.list:
        parser.error("say with --out where the results shall go")
    return chosen


# ---- the Slicer that starts the others -----------------------------------------------------


def options_of(command: Sequence[str]) -> list[str]:
    """Return the options of Slicer itself from its whole command line."""
    own = list(command[1:])
    if REST in own:
        own = own[: own.index(REST)]
    if SCRIPT_OPTION in own:
        index = own.index(SCRIPT_OPTION)
        del own[index : index + 2]
    return own


def executable(application: Any) -> str:
    """Return the program that starts this Slicer; on a Mac there is no launcher."""
    launcher = application.launcherExecutableFilePath
    return launcher if launcher and Path(launcher).is_file() else application.applicationFilePath()


def environment_of(application: Any) -> Mapping[str, str] | None:
    """Return the environment for another Slicer: without what the launcher added, if there is one.

    None stands for that of this program.
    """
    import slicer

    return slicer.util.startupEnvironment() if application.launcherExecutableFilePath else None


def lay_out(folder: Path, environment: Mapping[str, str] | None) -> str:
    """Lay this checkout out as an extension, and return the path for Slicer."""
    target = folder / "extension"
    if target.exists():
        shutil.rmtree(target)
    path = (environment or os.environ).get("PATH")
    python = shutil.which("python3", path=path) or shutil.which("python", path=path)
    script = str(ROOT / "tools" / "extension_package.py")
    if python is None:
        raise RuntimeError(f"Lay the extension out first: python {script} {target}")
    # Not in Slicer's own environment, whose libraries would get into CMake.
    subprocess.run([python, script, str(target)], env=environment, check=True)
    return str(target)


def run_all(chosen: argparse.Namespace) -> int:
    """Run scenarios in Slicers of their own; return the exit status."""
    import slicer

    folder = chosen.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    options = options_of(slicer.app.arguments())
    environment = environment_of(slicer.app)
    if not hasattr(slicer.modules, MODULE.lower()):
        options += [MODULE_PATHS, lay_out(folder, environment)]
    program = executable(slicer.app)

    def start(name: str, number: int, place: Path) -> list[str]:
        script = [SCRIPT_OPTION, str(Path(__file__).resolve()), REST]
        part = ["--out", str(folder), "--part", str(number), "--place", str(place), name]
        return [program, *options, *script, *part]

    wanted = {name: SCENARIOS[name] for name in chosen.names or SCENARIOS}
    status = runner.run_all(
        wanted,
        folder,
        start,
        environment,
        slicer.app.processEvents,
        chosen.limit,
    )
    print((folder / runner.SUMMARY_TEXT).read_text(encoding="utf-8"), flush=True)
    return status


# ---- a Slicer that does one part -----------------------------------------------------------


def run_part(chosen: argparse.Namespace) -> int:
    """Do one part of one scenario in this Slicer; return the exit status."""
    (name,) = chosen.names
    # Slicer's own streams are no files. The later trace shows where this Slicer hangs, before the
    # one that waits for it stops it.
    trace = (chosen.place / runner.TRACE).open("w", encoding="utf-8")
    faulthandler.enable(trace)
    faulthandler.dump_traceback_later(0.9 * chosen.limit, file=trace)
    part = SCENARIOS[name].parts[chosen.part - 1]
    record = runner.Record(chosen.place / runner.RESULT)

    def action() -> None:
        from application_scenarios.reader import Reader

        reader = Reader(record, chosen.place, chosen.out)
        try:
            part.do(reader)
            reader.check_dialogs()
        finally:
            reader.close()

    def look_for_errors() -> None:
        from MOISSAM2SegmentLib.setup.application_test import check_error_log

        record.figure("entries of others in the log", len(check_error_log()))

    status = runner.run_part(record, action, look_for_errors)
    faulthandler.cancel_dump_traceback_later()
    return status


def main(given: Sequence[str]) -> int:
    """Do what was asked for; return the exit status."""
    try:
        chosen = arguments(given)
    except SystemExit as ended:
        # argparse ends the program, which Slicer would take for an error of the script.
        return ended.code if isinstance(ended.code, int) else 2
    if chosen.list:
        print("\n".join(f"{name:22}{one.about}" for name, one in SCENARIOS.items()), flush=True)
        return 0
    return run_all(chosen) if chosen.part is None else run_part(chosen)


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    except BaseException:
        # Slicer would print it, and stay.
        traceback.print_exc()
        status = 1
    if "slicer" in sys.modules:
        import slicer

        slicer.util.exit(status)
    else:
        sys.exit(status)

"""Script that runs the extension's self tests and exits with 0 only if all of them pass.

In Slicer:  Slicer --testing --additional-module-paths FOLDER
            --python-script Testing/slicer_application/run_self_tests.py
where FOLDER was made by ``python tools/extension_package.py FOLDER``. With ``--no-main-window`` it
runs too, and counts what needs the window and its views as skipped.

Without Slicer (``python run_self_tests.py``) on the slicer-core wheel, as far as that goes: the
storyboard through the logic, without panel, Segment Editor and modules.

This folder must not be called `slicer`: the package of that name imports every file of every
folder of that name that it finds on the path.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
import unittest
from collections.abc import Callable, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODULE = "MOISSAM2Segment"

Test = Callable[[], None]


def is_application() -> bool:
    """Return whether this runs in the Slicer application."""
    import slicer

    return hasattr(getattr(slicer, "app", None), "testingEnabled")


def run(tests: Mapping[str, Test]) -> int:
    """Run all tests, also after one has failed, and return the exit status."""
    failed, skipped = [], []
    for name, test in tests.items():
        print(f"--- {name}", flush=True)
        try:
            test()
        except unittest.SkipTest as reason:
            print(f"skipped: {reason}", flush=True)
            skipped.append(name)
        except BaseException:
            traceback.print_exc()
            failed.append(name)
    passed = len(tests) - len(failed) - len(skipped)
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped", flush=True)
    for name in failed:
        print(f"failed: {name}", flush=True)
    return 1 if failed or not passed else 0


# ---- in Slicer -----------------------------------------------------------------------------


def modules_are_loaded() -> None:
    """Fail if a module is not loaded; Slicer itself only logs an import that failed."""
    import slicer

    for name in (MODULE, "SegmentEditorMOISSAM2"):
        module = getattr(slicer.modules, name.lower(), None)
        if module is None:
            raise AssertionError(f"the module {name} is not loaded")


def own_tests_of_the_module() -> dict[str, Test]:
    """Return the module's own tests, which *Reload and Test* runs too."""
    # Slicer puts the folders of its modules on the path. Run one by one, and without unittest's
    # report: what goes to the standard error output counts as an error in Slicer's log.
    name = f"{MODULE}.{MODULE}Test"
    suite = unittest.defaultTestLoader.loadTestsFromName(name)
    return {test.id(): test.debug for test in suite}


def storyboard_in_the_panel() -> None:
    """Run the storyboard in the panel's own workspace, pumped by the panel's own timer."""
    from MOISSAM2SegmentLib.setup.application_test import run_in_panel

    print("\n".join(run_in_panel()))


def effect_in_the_segment_editor() -> None:
    """Run a click through the real Segment Editor, with its undo."""
    from MOISSAM2SegmentLib.setup.application_test import run_in_segment_editor

    print("\n".join(run_in_segment_editor()))


def error_log() -> None:
    """Fail if the log has an error or a warning from us, since Slicer's start; print the others."""
    from MOISSAM2SegmentLib.setup.application_test import check_error_log

    others = check_error_log()
    print(f"{len(others)} entries from others")
    print("\n".join(others[:20]))


# ---- without Slicer ------------------------------------------------------------------------


def storyboard_on_the_wheel() -> None:
    """Run the storyboard through the logic on real nodes."""
    from MOISSAM2SegmentLib.setup.self_test import run_storyboard
    from scene_setup import make_scene

    with tempfile.TemporaryDirectory() as folder:
        scene, keep = make_scene(folder)
        print("\n".join(run_storyboard()))
        scene.Clear(1)
        del keep


def main() -> int:
    """Run the tests that can be run here, and return the exit status."""
    if not is_application():
        # Beside what is installed, so that a layout of the extension can be put before it.
        logic = ROOT / "MOISSAM2Segment" / "Logic"
        sys.path += [str(logic), str(ROOT), str(ROOT / "Testing" / "slicer_logic")]
        return run(named(storyboard_on_the_wheel))
    return run(
        {
            **named(modules_are_loaded),
            **own_tests_of_the_module(),
            # The log comes last: it has what the others did.
            **named(storyboard_in_the_panel, effect_in_the_segment_editor, error_log),
        }
    )


def named(*tests: Test) -> dict[str, Test]:
    """Return tests by their names."""
    return {test.__name__.replace("_", " "): test for test in tests}


def leave(status: int) -> None:
    """Exit with a status; the Slicer application would go on after the script."""
    import slicer

    if is_application():
        slicer.util.exit(status)
    else:
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    leave(main())

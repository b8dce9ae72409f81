"""Script that runs the extension's self tests and exits with 0 only if all of them pass.

In Slicer:  Slicer --no-main-window --testing --additional-module-paths FOLDER
            --python-script Testing/slicer_application/run_self_tests.py
where FOLDER was made by ``python tools/extension_package.py FOLDER``.

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
    failed = []
    for name, test in tests.items():
        print(f"--- {name}", flush=True)
        try:
            test()
        except BaseException:
            traceback.print_exc()
            failed.append(name)
    print(f"{len(tests) - len(failed)} passed, {len(failed)} failed", flush=True)
    return 1 if failed or not tests else 0


# ---- in Slicer -----------------------------------------------------------------------------


def modules_are_loaded() -> None:
    """Fail if a module is not loaded; Slicer itself only logs an import that failed."""
    import slicer

    for name in (MODULE, "SegmentEditorMOISSAM2"):
        module = getattr(slicer.modules, name.lower(), None)
        if module is None:
            raise AssertionError(f"the module {name} is not loaded")


def own_tests_of_the_module() -> None:
    """Run the module's own tests, as *Reload and Test* does."""
    import unittest

    # Slicer puts the folders of its modules on the path.
    suite = unittest.defaultTestLoader.loadTestsFromName(f"{MODULE}.{MODULE}Test")
    if not suite.countTestCases():
        raise AssertionError(f"{MODULE} has no test")
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    if not result.wasSuccessful():
        raise AssertionError("the module's own tests failed")


def storyboard_in_the_panel() -> None:
    """Run the storyboard in the panel's own workspace, pumped by the panel's own timer."""
    from MOISSAM2SegmentLib.setup.application_test import run_in_panel

    print("\n".join(run_in_panel()))


def effect_in_the_segment_editor() -> None:
    """Run a click through the real Segment Editor, with its undo."""
    from MOISSAM2SegmentLib.setup.application_test import run_in_segment_editor

    print("\n".join(run_in_segment_editor()))


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
    if is_application():
        parts = (
            modules_are_loaded,
            own_tests_of_the_module,
            storyboard_in_the_panel,
            effect_in_the_segment_editor,
        )
    else:
        # Beside what is installed, so that a layout of the extension can be put before it.
        logic = ROOT / "MOISSAM2Segment" / "Logic"
        sys.path += [str(logic), str(ROOT), str(ROOT / "Testing" / "slicer_logic")]
        parts = (storyboard_on_the_wheel,)
    return run({part.__name__.replace("_", " "): part for part in parts})


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

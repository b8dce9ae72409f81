"""All scenarios by name, in the order in which they are run."""

from __future__ import annotations

from application_scenarios.runner import Part, Scenario

SCENARIOS = {
    "layout": Scenario(
        "the layout at the start, and the reader's own at the end", (Part("window", "layout"),)
    ),
    "panel": Scenario(
        "what is seen of the panel in a small and a large window",
        (Part("window", "panel_in_two_sizes"),),
    ),
    "points": Scenario(
        "points with the mouse in all views and a turned one", (Part("points", "points_in_views"),)
    ),
    "transform": Scenario(
        "a scan under a transform, which is hardened", (Part("points", "scan_under_transform"),)
    ),
    "scene-closed": Scenario(
        "the scene is closed in a search", (Part("interruptions", "scene_closed"),)
    ),
    "scan-deleted": Scenario(
        "the scan is deleted in a search", (Part("interruptions", "scan_deleted"),)
    ),
    "segmentation-deleted": Scenario(
        "the segmentation is deleted in a search", (Part("interruptions", "segmentation_deleted"),)
    ),
    "points-deleted": Scenario(
        "the points are deleted in a search", (Part("interruptions", "points_deleted"),)
    ),
    "another-scan": Scenario(
        "another scan is started in a search", (Part("interruptions", "another_scan"),)
    ),
    "reload": Scenario("the module is reloaded in a search", (Part("interruptions", "reloaded"),)),
    "leave": Scenario("the module is left in a search", (Part("interruptions", "module_left"),)),
    "quit": Scenario("Slicer is quit in a search", (Part("processes", "quit_in_search"),)),
    "effect": Scenario(
        "the effect: undo and redo, painting in between, Show 3D",
        (Part("segment_editor", "effect_undo_paint_and_3d"),),
    ),
    "effect-masks": Scenario(
        "the effect: intensity range, editable area, a segment with content",
        (Part("segment_editor", "effect_with_masks"),),
    ),
    "effect-beside": Scenario(
        "the effect beside the module", (Part("segment_editor", "effect_beside_module"),)
    ),
    "take-over": Scenario(
        "outlined segments are taken over", (Part("segment_editor", "outlines_taken_over"),)
    ),
    "earlier-scan": Scenario(
        "an earlier scan beside the open one, lesion by lesion",
        (Part("comparison", "earlier_scan"),),
    ),
    "save": Scenario(
        "a bundle is saved, and opened in another Slicer",
        (Part("processes", "save_work"), Part("processes", "go_on_with_saved_work")),
    ),
    "crash": Scenario(
        "Slicer dies, and the work is restored in another",
        (
            Part("processes", "work_until_killed", is_killed=True),
            Part("processes", "restore_after_crash"),
        ),
    ),
    "dicom": Scenario(
        "a scan from the DICOM database, and results as DICOM",
        (Part("archive", "results_as_dicom"),),
    ),
    "findings": Scenario(
        "300 findings, and the pauses of the window", (Part("load", "three_hundred_findings"),)
    ),
    "memory": Scenario("20 rounds with 150 lesions, and memory", (Part("load", "memory"),)),
}
"""A name is what is written on the command line, and the folder with pictures."""

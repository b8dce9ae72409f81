"""Scripts for developers, none of which is installed.

Each is run from the project's root as ``python -m tools.NAME`` or ``python tools/NAME.py``; those
that take options list them with ``--help``.

parity             compare our network with the figures of the published ones, array by array
trial              measure a model on held-out phantoms, used as a user would
confidence         measure how often findings of a confidence are right
rejections         measure what a second search gains from rejected and accepted findings
clicked_slice      measure what a network makes of a click on the slice that is clicked
shortfall          measure where a model's search falls short, and what its grid allows
lesion_rules       measure what each rule for whole lesions is worth
scribbles          measure what a line through a lesion is best turned into
follow_up_trial    measure how well lesions are followed from scan to scan
body_regions       count how often the part of the body that a lesion lies in is told right
body_and_air       count what of phantoms is taken for air around the body
measure_touching   measure how a mask of all lesions should be cut into single ones
annotators         measure how far simulated people who draw by hand agree
average            average the weights of several runs into a file that can ship
make_weights       train the small network of one config, from nothing
ablation           train and measure the approaches of the paper's Table 2 at small scale
gpu                measure everything on a GPU, train there, and write a report
gpu_search         time a scan as a user has it searched, on any device
draw_icons         draw the icons of the module's buttons
extension_package  lay the extension out as Slicer's build does

Parts of ``parity``: ``golden_sets`` runs our network on the recipe of a set, ``published_flow``
follows the published predictor step by step, ``golden_bounds`` says when two arrays are equal.
Parts of ``gpu``: ``gpu_machine`` finds the GPU, ``gpu_pieces`` says what is measured, ``gpu_runs``
runs a piece and keeps its result, ``gpu_report`` writes them up.
"""

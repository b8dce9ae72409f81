"""Errors by which a call into MOISSAM2 ends early on purpose.

Everything else that is raised is a defect of the program. The command line turns these into exit
codes, the Slicer module into a message; neither ever shows a traceback for them.
"""


class BadInput(ValueError):
    """Input that cannot be used. The message tells the user what is wrong and what to do."""


class Cancelled(Exception):
    """End of a long call that the user asked to stop. What was finished before is kept."""

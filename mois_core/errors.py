"""The two ways in which a call into MOISSAM2 ends early on purpose.

Everything else that is raised is a defect of ours. The command line turns these into exit codes,
the Slicer module into a message; neither ever shows a traceback for them.
"""


class BadInput(ValueError):
    """Something the user gave us cannot be used. The message says what is wrong and what to do."""


class Cancelled(Exception):
    """The user asked a long call to stop. Everything finished before that moment is kept."""

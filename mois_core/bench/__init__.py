"""Speed of the engine on this machine, and baselines to compare it with.

Nothing here is needed to segment a scan. `mois bench` and the tests are its only users.
"""

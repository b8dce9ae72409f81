"""How fast the engine is on this machine, and how that compares with others.

Nothing here is needed to segment a scan. `mois bench` and the tests are its only users.
"""

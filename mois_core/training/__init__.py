"""Training: cases and phantoms to learn from, simulated clicks, losses, the loop and its state.

Everything is built on the network's own stages, in the order in which `mois_core.Session` calls
them, so that what is learned is what is used.
"""

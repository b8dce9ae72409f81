"""The patient whose visits the tests of follow-up compare."""

SEED = 100_005
SMALL = {"size": (128, 40), "slices": 20, "lesions": 12}

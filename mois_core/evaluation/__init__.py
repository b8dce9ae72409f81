"""Segmenters measured against the truth, as the papers do it: `mois evaluate`."""

"""Installation of packages, the sample scan, and the self tests."""

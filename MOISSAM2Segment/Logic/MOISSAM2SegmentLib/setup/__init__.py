"""Installing packages, the sample scan, and the self tests."""

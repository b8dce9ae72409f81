"""What runs on the worker thread, or is handed to it: neither scene nor Qt."""

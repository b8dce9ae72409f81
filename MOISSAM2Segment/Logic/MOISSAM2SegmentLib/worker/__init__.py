"""Code that runs on the worker thread and what is handed to it; without the scene and Qt."""

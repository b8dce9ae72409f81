"""The part of the Slicer module that lies between its panel and the engine; without Qt.

The package is called after the module because everything that modules install lands in one flat
folder on Slicer's path, where a package called `Logic` would collide with the next extension's.

Importing it, or any file of it, imports neither torch nor anything else that Slicer does not
bring along: the module is loaded at start-up, long before the user agreed to install anything.
"""

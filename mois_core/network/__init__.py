"""The published networks in plain PyTorch, one file per part.

``config`` says which parts a network has and how large they are; ``model`` puts them together;
``checkpoint`` reads the published files, and ``loading`` makes networks of them. The parts know
nothing of volumes, lesions or Slicer.
"""

"""nnInteractive behind two pipes; runs in its environment, and imports nothing of ours.

A message is a line of JSON, and after it as many bytes as it says. Questions come on the standard
input, answers go to the standard output; whatever else is printed goes to the standard error.

  {"do": "load", "model": FOLDER, "device": "cpu", "threads": N}      {"licence": ...}
  {"do": "image", "shape": [...], "bytes": N} and float32 voxels      {}
  {"do": "clicks", "clicks": [[[z, y, x], true], ...]}                {"bytes": N} and packed bits
"""

from __future__ import annotations

import json
import os
import sys
from typing import BinaryIO

import numpy as np
import torch
from nnInteractive.inference.inference_session import nnInteractiveInferenceSession


class Worker:
    """One session of nnInteractive: a model, a scan, and the clicks that it has been given."""

    def __init__(self) -> None:
        self.session: nnInteractiveInferenceSession | None = None
        self.given: list = []

    def load(self, question: dict, content: bytes) -> tuple[dict, bytes]:
        """Read a model; a second one takes the place of the first."""
        threads = {"torch_n_threads": question["threads"]} if question["threads"] else {}
        self.session = nnInteractiveInferenceSession(
            device=torch.device(question["device"]),
            use_torch_compile=False,
            verbose=False,
            do_autozoom=True,
            **threads,
        )
        self.session.initialize_from_trained_model_folder(question["model"])
        return {"licence": getattr(self.session, "license", None)}, b""

    def image(self, question: dict, content: bytes) -> tuple[dict, bytes]:
        """Take up a scan."""
        voxels = np.frombuffer(content, dtype="<f4").reshape(question["shape"])
        self.session.set_image(voxels[None].astype(np.float32))
        self.target = np.zeros(voxels.shape, dtype=np.uint8)
        self.session.set_target_buffer(self.target)
        self.given = []
        return {}, b""

    def clicks(self, question: dict, content: bytes) -> tuple[dict, bytes]:
        """Return an object's mask after its clicks, one prediction after each as in its viewers.

        What the last answer was about is not computed again if these clicks only go on from it.
        """
        clicks = question["clicks"]
        if self.given != clicks[: len(self.given)]:
            self.session.reset_interactions()
            self.given = []
        for place, positive in clicks[len(self.given) :]:
            self.session.add_point_interaction(tuple(place), include_interaction=positive)
        self.given = clicks
        packed = np.packbits(self.target > 0).tobytes()
        return {"bytes": len(packed)}, packed


def main(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer questions until there are no more."""
    worker = Worker()
    while line := questions.readline():
        question = json.loads(line)
        content = questions.read(question.get("bytes", 0))
        try:
            answer, blob = getattr(worker, question["do"])(question, content)
        except Exception as error:
            # Whatever nnInteractive raises is told over there, where somebody reads it.
            answer, blob = {"error": f"{type(error).__name__}: {error}"}, b""
        answers.write(json.dumps(answer).encode() + b"\n" + blob)
        answers.flush()


if __name__ == "__main__":
    own = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    main(sys.stdin.buffer, own)

"""What somebody who means harm may send: pickles that do something, names that are markup or lead elsewhere."""

import io
import pickle
from pathlib import Path

import torch


class Trap:
    """Of a pickle: whoever loads it freely writes a file, which `sprung` tells."""

    def __init__(self, folder: Path):
        self.mark = folder / "sprung"

    def __reduce__(self):
        return (Path.touch, (self.mark,))

    @property
    def sprung(self) -> bool:
        return self.mark.exists()

    def archive(self) -> bytes:
        """As `torch.save` writes it."""
        with io.BytesIO() as file:
            torch.save({"weight": torch.ones(2), "trap": self}, file)
            return file.getvalue()

    def plain(self) -> bytes:
        """As `pickle` does."""
        return pickle.dumps(self)

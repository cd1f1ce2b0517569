"""The saved model: one file, replaced as a whole."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from deployments.services.fl_server import model
from deployments.services.fl_server.model import Floats

FILE_NAME = "model.npy"


@dataclass(frozen=True)
class LoadedModel:
    """A model read back from disk: its weights, its file's bytes, the seconds it took."""

    weights: Floats
    size_bytes: int
    load_seconds: float


class ModelStore:
    """Saves and loads the model in a folder, created if missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, weights: Floats) -> None:
        """Write the weights atomically; raise OSError if that fails."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f"{FILE_NAME}.draft"
        draft.write_bytes(model.to_bytes(weights))
        os.replace(draft, self.folder / FILE_NAME)

    def load(self) -> LoadedModel:
        """Read the saved weights; raise OSError without any, ValueError when corrupt."""
        start = time.perf_counter()
        content = (self.folder / FILE_NAME).read_bytes()
        weights = model.from_bytes(content)
        return LoadedModel(weights, len(content), time.perf_counter() - start)

"""The saved model: whole, or an error."""

from pathlib import Path

import numpy as np
import pytest

from deployments.services.fl_server import model
from deployments.services.fl_server.store import FILE_NAME, ModelStore


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    weights = np.full((model.FEATURES, model.CLASSES), 0.5)
    store.save(model.initial_weights())
    store.save(weights)
    loaded = store.load()
    assert np.array_equal(loaded.weights, weights)
    assert loaded.size_bytes == (tmp_path / "models" / FILE_NAME).stat().st_size
    assert loaded.load_seconds > 0
    assert [path.name for path in store.folder.iterdir()] == [FILE_NAME]


def test_nothing_saved_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ModelStore(tmp_path).load()


def test_a_folder_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(FileExistsError):
        ModelStore(tmp_path / "taken").save(model.initial_weights())

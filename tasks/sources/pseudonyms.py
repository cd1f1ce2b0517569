"""Pseudonyms of clients: hashed with a key, before anything is stored or sent."""

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tasks.core.batch import Batch, canonical
from tasks.core.errors import ConfigurationInvalid
from tasks.core.measurement import Measurement
from tasks.core.ports import Source
from tasks.core.settings import CLIENT_KEY_VARIABLE, Settings
from tasks.core.window import Window

KEY_FILE = "client-ids.key"
KEY_BYTES = 32
# 48 bits: among 10,000 clients two collide with a probability of 2 in 10 million
NAME_BYTES = 6
PERSON = b"fedvitals-client"
Namer = Callable[[str], str]


class NamedSource:
    """A source whose clients get pseudonyms in every batch."""

    def __init__(self, source: Source, namer: Namer) -> None:
        self.name, self.history = source.name, source.history
        self._source = source
        self._namer = namer

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """Extract as the source does, with pseudonyms in the measurement's `identity`."""
        batch = self._source.extract(measurement, environment, window)
        tag = measurement.identity
        if tag is None:
            return batch
        renamed = batch.frame[tag].cat.rename_categories(self._namer)
        frame = canonical(batch.frame.assign(**{tag: renamed}), measurement)
        tags = [self._rename_tags(text, tag) for text in batch.rejected["tags"]]
        return replace(batch, frame=frame, rejected=batch.rejected.assign(tags=tags))

    def _rename_tags(self, text: str, tag: str) -> str:
        tags = json.loads(text)
        if tag in tags:
            tags[tag] = self._namer(tags[tag])
        return json.dumps(tags, sort_keys=True, ensure_ascii=False)


def namer_of(settings: Settings) -> Namer | None:
    """Return the naming of clients set by client_ids; None for unchanged names.

    Hashed is keyed BLAKE2b (RFC 7693): names cannot be guessed without the key, and equal names of
    one key stay equal. The key is FEDVITALS_CLIENT_KEY, else a file in FEDVITALS_HOME, created if
    missing; raises ConfigurationInvalid when it can be neither read nor created.
    """
    if settings.client_ids == "plain":
        return None
    given = settings.client_key
    secret = given.get_secret_value().encode() if given else _kept_key(settings.home / KEY_FILE)
    key = hashlib.blake2b(secret, digest_size=KEY_BYTES).digest()

    def name(client: str) -> str:
        return hashlib.blake2b(
            client.encode(), key=key, digest_size=NAME_BYTES, person=PERSON
        ).hexdigest()

    return name


def _kept_key(path: Path) -> bytes:
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise ConfigurationInvalid(
            where=path,
            problem=f"the key of hashed client names cannot be kept there: {error.strerror}",
            fix=f"Make the folder writable, or set {CLIENT_KEY_VARIABLE}",
        ) from error
    if len(key) != KEY_BYTES:
        raise ConfigurationInvalid(
            where=path,
            problem=f"holds {len(key)} bytes, but the key of hashed client names has {KEY_BYTES}",
            fix="Restore the file. Delete it only if clients may get new names",
        )
    return key


def _make_key(path: Path) -> None:
    """Create a key atomically, for its owner alone; of two creators the first wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        # another run was first: its key is used
        return
    finally:
        draft.unlink(missing_ok=True)

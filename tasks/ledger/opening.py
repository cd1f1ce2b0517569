"""Opening of the ledger by the settings."""

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.core.errors import ConfigurationInvalid
from tasks.core.settings import Settings
from tasks.core.whole_file import make_private
from tasks.ledger.ledger import Ledger


@contextmanager
def opened_ledger(settings: Settings) -> Iterator[Ledger]:
    """Open the ledger for a block; raise ConfigurationInvalid without a folder for it."""
    try:
        make_private(settings.home)
    except OSError as error:
        problem = f"{settings.home} cannot be created: {error.strerror}"
        fix = "Name a writable folder"
        raise ConfigurationInvalid(where="FEDVITALS_HOME", problem=problem, fix=fix) from error
    ledger = Ledger(settings.ledger_url, settings.pipeline.retry_timeout.total_seconds())
    try:
        yield ledger
    finally:
        ledger.close()

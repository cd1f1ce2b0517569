"""The name of the user that a change is made by."""

import getpass
import os
from contextlib import suppress


def user_name() -> str:
    """Return the user's name; the number of one without a name, as in a container."""
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return f"user {os.getuid()}"

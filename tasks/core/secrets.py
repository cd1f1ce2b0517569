"""Read secrets, each from a variable NAME or from the file that NAME_FILE names."""

from collections.abc import Mapping
from pathlib import Path

from tasks.core.errors import ConfigurationInvalid


def secret_of(env: Mapping[str, str], name: str) -> str | None:
    """Return the secret of this name; None without one.

    Raises:
        ConfigurationInvalid: when NAME and NAME_FILE are both set, or the file holds no secret.
    """
    path = env.get(f"{name}_FILE")
    if not path:
        return env.get(name) or None
    if env.get(name):
        problem = f"{name} and {name}_FILE are both set"
        raise ConfigurationInvalid(where=name, problem=problem, fix="Unset one of them")
    return read_secret(Path(path), f"{name}_FILE")


def read_secret(path: Path, where: str) -> str:
    """Return what a file holds, without the spaces and line ends around it."""
    fix = "Name a file that holds the secret alone, and that this user may read"
    try:
        text = path.read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}"
        raise ConfigurationInvalid(where=where, problem=problem, fix=fix) from error
    if not text:
        raise ConfigurationInvalid(where=where, problem=f"{path} is empty", fix=fix)
    return text

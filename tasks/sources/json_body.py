"""JSON of an answer, or the error that describes what came instead."""

import json
from typing import Any

from tasks.sources.http import Answer, Asked, Client
from tasks.sources.json_rows import MISSING

HTTP_NOT_FOUND = 404


def fetch_json(client: Client, path: str, asked: Asked, hint: str = "") -> Any:
    """Fetch JSON at the path, MISSING for HTTP 404; raise as Client.ask and json_of."""
    answer = client.ask(path, path)
    if answer.status == HTTP_NOT_FOUND:
        return MISSING
    if answer.status >= 300:
        raise client.unexpected(answer, asked, hint)
    return json_of(answer, asked)


def json_of(answer: Answer, asked: Asked) -> Any:
    """Parse JSON with NaN and Infinity; raise SourceUnavailable or AnswerInvalid."""
    if "html" in answer.headers.get("Content-Type", ""):
        raise asked.invalid("it is an HTML page")
    try:
        return json.loads(answer.body)
    except json.JSONDecodeError as error:
        if _is_cut(error):
            raise asked.unavailable("the answer is truncated") from error
        raise asked.invalid(f"it is not JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        raise asked.invalid(f"its JSON cannot be read: {error}") from error


def _is_cut(error: json.JSONDecodeError) -> bool:
    """Return whether an object or a list began without coming to its end."""
    text = error.doc.strip()
    if not text.startswith(("{", "[")):
        return False
    is_open = not text.endswith(("}", "]")) or error.msg.startswith("Unterminated string")
    return is_open or not error.doc[error.pos :].strip()

"""JSON of an answer, or the error that describes what came instead."""

import json
from typing import Any

from tasks.core.outside import read_json
from tasks.http import Answer
from tasks.sources.http import Client, Request

HTTP_NOT_FOUND = 404


class Missing:
    """Stands for a value that the body does not have."""


MISSING = Missing()


def fetch_json(client: Client, path: str, request: Request, hint: str = "") -> Any:
    """Fetch JSON at the path, MISSING for HTTP 404; raise as Client.ask and json_of."""
    answer = client.ask(path, path)
    if answer.status == HTTP_NOT_FOUND:
        return MISSING
    if answer.status >= 300:
        raise client.unexpected(answer, request, hint)
    return json_of(answer, request)


def json_of(answer: Answer, request: Request) -> Any:
    """Parse JSON with NaN and Infinity; raise SourceUnavailable or AnswerInvalid."""
    if "html" in answer.headers.get("Content-Type", ""):
        raise request.invalid("it is an HTML page")
    try:
        return read_json(answer.body)
    except json.JSONDecodeError as error:
        if _is_cut(error):
            raise request.unavailable("the answer is truncated") from error
        raise request.invalid(f"it is not JSON: {error}") from error
    except ValueError as error:
        raise request.invalid(f"its JSON cannot be read: {error}") from error


def _is_cut(error: json.JSONDecodeError) -> bool:
    """Return whether an object or a list began without coming to its end."""
    text = error.doc.strip()
    if not text.startswith(("{", "[")):
        return False
    is_open = not text.endswith(("}", "]")) or error.msg.startswith("Unterminated string")
    return is_open or not error.doc[error.pos :].strip()

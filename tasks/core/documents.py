"""Reading YAML files into models, with errors that name the key."""

import difflib
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError
from pydantic_core import ErrorDetails

from tasks.core.errors import ConfigurationInvalid
from tasks.core.window import format_duration, parse_duration

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """A frozen record that rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _as_duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    # the unit of a bare number would be ambiguous
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a duration such as 15s, 5m, 1h or 2d")
    return parse_duration(value)


Duration = Annotated[
    timedelta, BeforeValidator(_as_duration), PlainSerializer(format_duration, return_type=str)
]


class _Loader(yaml.CSafeLoader):
    """Rejects duplicate keys, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice[0]} is repeated", node.start_mark
            )
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; raise ConfigurationInvalid if that fails."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except FileNotFoundError as error:
        fix = "Set FEDVITALS_CONFIG to the folder that holds it"
        raise ConfigurationInvalid(where=path, problem="the file is missing", fix=fix) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = f"cannot be read: {' '.join(str(error).split())}"
        raise ConfigurationInvalid(where=path, problem=problem, fix="Correct the file") from error
    if not isinstance(content, dict):
        raise ConfigurationInvalid(
            where=path, problem="is not a mapping of keys", fix="See docs/configuration.md"
        )
    return content


def parse(model: type[Model], content: dict[str, Any], where: str) -> Model:
    """Validate the content; raise ConfigurationInvalid naming every wrong key's path."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = [_describe(model, detail) for detail in error.errors()]
        raise ConfigurationInvalid(
            where=where, problem="; ".join(problems), fix="Correct the keys named here"
        ) from None


def _describe(model: type[BaseModel], detail: ErrorDetails) -> str:
    path = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"unknown key {path}{_suggestion(model, str(detail['loc'][-1]))}"
    return f"{path or 'the file'}: {detail['msg'].removeprefix('Value error, ')}"


def _suggestion(model: type[BaseModel], key: str) -> str:
    close = closest(key, _known_keys(model, set()))
    return f" (did you mean {close}?)" if close else ""


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most similar, if one is."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1)), None)


def _known_keys(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[str]:
    seen.add(model)
    keys = {field.alias or name for name, field in model.model_fields.items()}
    for nested in _nested_models(field.annotation for field in model.model_fields.values()):
        if nested not in seen:
            keys |= _known_keys(nested, seen)
    return keys


def _nested_models(annotations: Any) -> set[type[BaseModel]]:
    found: set[type[BaseModel]] = set()
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.add(annotation)
        found |= _nested_models(getattr(annotation, "__args__", ()))
    return found

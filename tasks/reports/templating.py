"""The templates of the pages."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from tasks.reports.words import moment


def template(name: str, filters: Mapping[str, Any], known: Mapping[str, Any]) -> Template:
    """Load a page's template with these filters and names."""
    environment = Environment(
        loader=FileSystemLoader(str(files("tasks.reports") / "templates")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"moment": moment, **filters}
    environment.globals |= known
    return environment.get_template(name)

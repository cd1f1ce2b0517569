"""The error tree: markers, messages made of facts, pickling, exit codes, and every place that raises."""

import ast
import importlib
import pickle
import pkgutil
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasks
from tasks.core import errors
from tasks.core.errors import ConfigurationInvalid, FedvitalsError, Terminal, Transient

ROOT = Path(__file__).parents[3]
USAGE = {
    "MadeByNewer",
    "MigrationRefused",
    "ConfigurationInvalid",
    "NothingConfigured",
    "PluginInvalid",
    "UsageInvalid",
    "SuiteInvalid",
    "QueryInvalid",
    "RunFileInvalid",
}


def below(root: type[FedvitalsError]) -> Iterator[type[FedvitalsError]]:
    for child in root.__subclasses__():
        yield child
        yield from below(child)


def leaves() -> list[type[FedvitalsError]]:
    for module in pkgutil.walk_packages(tasks.__path__, "tasks."):
        if module.name.startswith("tasks.core"):
            importlib.import_module(module.name)
    ours = [each for each in below(FedvitalsError) if each.__module__.startswith("tasks.")]
    return sorted(
        {each for each in ours if each not in (Transient, Terminal)}, key=lambda e: e.__name__
    )


def facts_of(kind: type[FedvitalsError]) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(kind.message) if name}


def example(kind: type[FedvitalsError]) -> FedvitalsError:
    return kind(**{name: f"<{name}>" for name in facts_of(kind)})


@pytest.mark.parametrize("kind", leaves())
def test_every_error_is_either_transient_or_terminal(kind: type[FedvitalsError]) -> None:
    assert issubclass(kind, Transient) != issubclass(kind, Terminal)
    assert kind.exit_code == (2 if kind.__name__ in USAGE else 1)


@pytest.mark.parametrize("kind", leaves())
def test_every_error_keeps_its_facts_through_pickling(kind: type[FedvitalsError]) -> None:
    error = example(kind)
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), twin.facts, str(twin)) == (kind, error.facts, str(error))
    assert all(getattr(twin, name) == f"<{name}>" for name in facts_of(kind))
    assert "{" not in str(error)


@pytest.mark.parametrize("kind", leaves())
def test_every_error_says_which_facts_it_takes(kind: type[FedvitalsError]) -> None:
    assert kind.__doc__
    reported = kind.__doc__.partition("Facts: ")[2]
    assert all(name in reported for name in facts_of(kind)), (kind.__doc__, facts_of(kind))


def test_there_are_all_of_them() -> None:
    assert len(leaves()) >= 20


def test_unknown_fact_is_an_attribute_error() -> None:
    error = example(ConfigurationInvalid)
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = error.nothing_of_the_kind


def test_missing_fact_is_a_defect_that_shows_at_once() -> None:
    with pytest.raises(KeyError, match="fix"):
        ConfigurationInvalid(where="here", problem="it is wrong")


def test_more_facts_than_the_message_needs_are_kept() -> None:
    error = errors.SinkUnavailable(sink="s", url="u", problem="p", retry_after=1.5)
    assert pickle.loads(pickle.dumps(error)).retry_after == 1.5
    assert str(error) == "s at u: p. The data stays pending; the next run loads it"


def raises() -> Iterator[tuple[str, type[FedvitalsError], set[str], bool]]:
    """Where, which error, its keywords, and whether there are more that only running it shows."""
    known = {kind.__name__: kind for kind in leaves()}
    for folder in ("tasks", "flows"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in known:
                    given = {k.arg for k in node.keywords if k.arg}
                    has_more = any(k.arg is None for k in node.keywords)
                    place = f"{path.relative_to(ROOT)}:{node.lineno}"
                    yield place, known[name], given, has_more


@pytest.mark.slow
def test_every_place_that_raises_gives_all_facts_of_the_message() -> None:
    places = list(raises())
    assert len(places) > 30
    missing = {
        place: facts_of(kind) - given
        for place, kind, given, has_more in places
        if not has_more and facts_of(kind) - given
    }
    assert missing == {}

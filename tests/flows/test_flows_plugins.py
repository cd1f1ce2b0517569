"""A source, a sink and a channel of another package, in real processes of the command."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core import plugins
from tests.support.fakes import acme
from tests.support.installation import Installation, Ran, entry

POINTS = {"sources": ("orders", "invoices"), "sinks": ("book",), "channels": ("pager",)}
NAMES = [name for names in POINTS.values() for name in names]
START, STOP = "2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z"
WINDOW = ("--type", "business", "--start", START, "--stop", STOP)
TIMES = [f"2026-01-01T0{hour}:{minute}0:00+00:00" for hour in range(3) for minute in (1, 4)]

pytestmark = pytest.mark.slow


def register(folder: Path, package: str, points: dict[str, dict[str, str]]) -> None:
    """Installs a package of this name that registers these entry points, by group and name."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    groups = [
        "\n".join([f"[fedvitals.{group}]", *(f"{name} = {place}" for name, place in named.items())])
        for group, named in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups) + "\n")
    forget()


def forget() -> None:
    """Lets this process look for packages again."""
    plugins._registered.cache_clear()
    plugins.load.cache_clear()


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder beside the tree with the package acme installed in it."""
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copy(acme.__file__, folder / "acme_things.py")
    points = {g: {name: f"acme_things:{name}" for name in names} for g, names in POINTS.items()}
    monkeypatch.syspath_prepend(folder)
    register(folder, "acme", points)
    yield folder
    sys.modules.pop("acme_things", None)
    monkeypatch.undo()
    forget()


@pytest.fixture
def bought(bare: Installation, packages: Path) -> Installation:
    """A measurement of each of its sources; nothing of it is configured."""
    spec = {"unit": "ratio", "required": True}
    orders = {
        "type": "business", "tags": ["currency"], "step": "60s", "max_series": 5,
        "fields": {"paid_ratio": spec},
    }  # fmt: skip
    sold = {name: {**orders, "source": name} for name in POINTS["sources"]}
    bare.variables["PYTHONPATH"] = str(packages)
    return bare.configure({**sold, "a": entry("a")})


@pytest.fixture
def working(bought: Installation) -> Installation:
    """With all of it configured, and a ratio above 1 among the orders."""
    values = {"orders": [0.1, 0.2, 0.3, 1.5, 0.5, 0.6], "invoices": [0.5] * 6}
    for name in NAMES:
        path = bought.folder / f"{name}.json"
        bought.variables[f"{name.upper()}_URL"] = str(path)
        rows = list(zip(TIMES, values[name], strict=True)) if name in values else None
        path.write_text(json.dumps(rows) if rows else "{}" if name == "book" else "")
        bought.variables[f"{name.upper()}_CURRENCY"] = "EUR"
    return bought


def book(installation: Installation) -> dict[str, float]:
    """What the sink holds of the orders."""
    held = json.loads((installation.folder / "book.json").read_text())
    return {key: value for key, value in held.items() if json.loads(key)[0] == "orders"}


def checks(ran: Ran) -> dict[tuple[str, str], bool]:
    return {(each["service"], each["what"]): each["ok"] for each in ran.document["checks"]}


@pytest.mark.promise(
    "Sources: a source, sink or channel of another package is used like ours; a broken one fails only what needs it"
)
def test_what_another_package_brings_is_used_like_ours(working: Installation) -> None:
    ran = working.run("collect", "--json", *WINDOW)

    # a value is in quarantine, which is critical
    assert (ran.code, ran.document["status"], ran.document["worst"]) == (1, "ok", "critical")
    assert ran.document["values"]["landed"] == 11
    assert ran.document["sinks"]["book"]["loaded"] == 11
    assert sorted(book(working).values()) == [0.1, 0.2, 0.3, 0.5, 0.6]
    (line,) = (working.folder / "pager.json").read_text().splitlines()
    message = json.loads(line)
    assert message["run"] == ran.document["run_id"]
    assert [f for f in message["findings"] if f[0] == "critical" and "paid" in f[1]], message
    assert [(each["what"], each["ok"]) for each in ran.document["deliveries"]] == [
        ("self metrics", True), ("report", True), ("pager", True), ("alerts", True),
    ]  # fmt: skip

    orders = ("--sink", "book", "--measurement", "orders", "--json")
    equal = working.run("reconcile", *orders)
    assert (equal.code, equal.document["details"]["differences"]) == (0, [])
    held = book(working)
    held.pop(next(iter(held)))
    (working.folder / "book.json").write_text(json.dumps(held))
    differs = working.here("reconcile", *orders)
    (found,) = differs.document["details"]["differences"]
    assert (differs.code, found["lake"]["count"] - found["sink"]["count"]) == (1, 1)
    replayed = working.run("replay", *orders)
    assert (replayed.code, replayed.document["sinks"]["book"]["loaded"]) == (0, 5)
    assert len(book(working)) == 5

    done = checks(working.run("doctor", "--json"))
    assert [done[name, "is a file"] for name in NAMES] == [True] * 4
    # the failing twin
    (working.folder / "book.json").unlink()
    assert not checks(working.here("doctor", "--json"))["book", "is a file"]
    down = working.here("replay", *orders)
    assert (down.code, down.document["sinks"]["book"]["pending"]) == (3, 5)


def test_what_is_installed_and_not_configured_is_named(bought: Installation) -> None:
    bought.variables |= {"INVOICES_URL": str(bought.folder / "none"), "INVOICES_CURRENCY": "EUR"}

    ran = bought.here("collect", *WINDOW)

    assert "left out, since ORDERS_URL is not set: orders" in ran.err
    assert "environment production: no book is configured. Fix: set BOOK_URL" in ran.err
    assert "environment production: no pager is configured. Fix: set PAGER_URL" in ran.err
    refused = bought.here("replay", "--sink", "book")
    assert refused.code == 2
    assert refused.complaint == "environment production: no book is configured. Fix: set BOOK_URL"


def test_its_settings_are_checked_like_ours(working: Installation) -> None:
    entry = {"orders_url": "orders.json", "orders_regoin": "EU", "orders_currency": "EUR"}
    with working.changed("environments.yaml") as content:
        content["environments"] = {"staging": entry}
    ran = working.here("doctor", "--environment", "staging")
    assert ran.code == 2
    assert "environments.staging.orders_url: unknown key regoin" in ran.complaint
    with working.changed("environments.yaml") as content:
        content["environments"] = {}
    del working.variables["ORDERS_CURRENCY"]
    assert working.here("doctor").complaint.startswith("ORDERS_URL: currency: Field required")
    working.variables["ORDERS_CURRENCY"] = "EUR"
    working.write_yaml("sinks.yaml", {"book": {"indnt": 2}})
    assert "unknown key indnt (did you mean indent?)" in working.here("doctor").complaint
    working.write_yaml("sinks.yaml", {"book": {"enabled": False}})
    ran = working.here("collect", "--json", *WINDOW)
    assert (ran.document["sinks"], book(working)) == ({}, {})


def test_a_source_that_no_package_brings_is_refused(bought: Installation) -> None:
    with bought.changed("metrics.yaml") as content:
        content["measurements"]["orders"]["source"] = "shop"

    ran = bought.here("catalogue")

    known = "there are prometheus, rest, tls, federated, orders, invoices"
    assert ran.code == 2
    assert f"measurements.orders.source: there is no source 'shop'; {known}" in ran.complaint


BROKEN = {
    "an import that fails": (
        "acme_gone:orders",
        "it cannot be imported (ModuleNotFoundError: No module named 'acme_gone')",
    ),
    "another thing": ("acme_things:Book", "acme_things:Book is no SinkKind with this name"),
}


@pytest.mark.promise(
    "Sources: a source, sink or channel of another package is used like ours; a broken one fails only what needs it"
)
@pytest.mark.parametrize(("place", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plugin_takes_down_only_what_needs_it(
    working: Installation, packages: Path, place: str, words: str
) -> None:
    shutil.rmtree(packages / "acme-1.0.dist-info")
    broken = {"sources": "orders", "sinks": "book", "channels": "pager"}
    points = {group: {name: place} for group, name in broken.items()}
    points["sources"]["invoices"] = "acme_things:invoices"
    register(packages, "acme", points)

    collected = working.run("collect", "--json", *WINDOW)
    replayed = working.here("replay", "--sink", "book")
    examined = working.here("doctor", "--json")
    listed = working.here("report", "--type", "business", "--start", START, "--stop", STOP)

    # the measurement says why it failed, the run why sink and channel are off
    states = {each["name"]: each["state"] for each in collected.document["measurements"]}
    assert (collected.code, states) == (1, {"orders": "failed", "invoices": "landed"})
    (problem,) = next(m["problems"] for m in collected.document["measurements"] if m["problems"])
    assert problem.startswith("plugin orders (fedvitals.sources, of acme): ")
    assert collected.err.count("plugin book (fedvitals.sinks, of acme): ") == 1
    assert collected.err.count("plugin pager (fedvitals.channels, of acme): ") == 1
    assert "Traceback" not in collected.err
    assert replayed.code == 2
    assert replayed.complaint == (
        f"plugin book (fedvitals.sinks, of acme): {words}. Fix: correct or uninstall it"
    )
    assert [checks(examined)[name, "can be used"] for name in broken.values()] == [False] * 3
    assert listed.code == 0


@pytest.mark.parametrize("group", ["sinks", "channels"])
def test_a_run_without_a_broken_sink_or_channel_is_degraded(
    working: Installation, packages: Path, group: str
) -> None:
    whole = working.run("collect", "--json", "--measurement", "invoices", *WINDOW)
    assert (whole.code, whole.document["status"]) == (0, "ok")

    shutil.rmtree(packages / "acme-1.0.dist-info")
    (name,) = POINTS[group]
    points = {of: {each: f"acme_things:{each}" for each in all_} for of, all_ in POINTS.items()}
    register(packages, "acme", {**points, group: {name: "acme_gone:nothing"}})
    ran = working.run("collect", "--json", "--measurement", "invoices", *WINDOW)

    assert (ran.code, ran.document["status"]) == (3, "degraded")
    assert ran.err.count(f"plugin {name} (fedvitals.{group}, of acme): ") == 1


def test_one_name_of_two_packages_and_a_name_of_ours_are_refused(
    working: Installation, packages: Path
) -> None:
    register(packages, "copycat", {"sinks": {"book": "acme_things:book"}})
    register(packages, "boaster", {"sinks": {"influxdb": "acme_things:book"}})

    replayed = working.here("replay", "--sink", "book")
    examined = working.here("doctor", "--json")

    assert replayed.complaint.endswith("they register the same name. Fix: correct or uninstall it")
    assert {"acme", "copycat"} <= set(re.findall(r"\w+", replayed.complaint))
    failed = [each for each in examined.document["checks"] if each["what"] == "can be used"]
    assert sorted(each["service"] for each in failed) == ["book", "influxdb"]
    # ours is ours
    assert checks(examined)["influxdb", "is configured"]

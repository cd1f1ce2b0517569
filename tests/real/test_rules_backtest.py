"""Back-tests beside what Prometheus itself did: a server that ran the rules, and promtool."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.analysis.rules import learn
from tasks.analysis.rules.backtest import Firing
from tasks.analysis.rules.rule_file import rule_file
from tasks.core.settings import load_settings
from tasks.core.thresholds import Threshold, read_thresholds
from tasks.core.window import Window
from tasks.runs.rules.backtest import Past
from tasks.sources import prometheus
from tests.support.history import history, selector
from tests.support.installation import Installation, entry
from tests.support.process import program
from tests.support.servers import CACHE, VERSIONS, PrometheusServer, PrometheusVersion
from tests.support.serving import eventually

pytestmark = pytest.mark.real

MINUTE = timedelta(minutes=1)
MINUTES = 2_400
# evaluations of a query, 11,000 otherwise: promtool takes seconds for a thousand minutes
POINTS = 1_000
START = datetime.fromtimestamp(int(time.time()) // 3600 * 3600, UTC) - 9 * timedelta(days=1)
# first minute of the second query of a rule with `for` 5 m and keep_firing_for 10 m
EDGE = POINTS - 16
RULES: dict[str, dict[str, str]] = {
    "plain": {},
    "held": {"for": "5m"},
    "kept": {"keep_firing_for": "10m"},
    "both": {"for": "5m", "keep_firing_for": "10m"},
    "conditional": {"for": "5m", "when": "sum(trains) > 0"},
    "gone": {"expr": "gone", "no_data_after": "7m"},
}
COMMON = {"expr": "planted", "comparison": ">", "value": 0.5, "severity": "high", "summary": "high"}
WINDOW = Window(START, START + MINUTES * MINUTE)
LIVE = {"plain": {}, "held": {"for": "1s"}, "both": {"for": "1s", "keep_firing_for": "2s"}}


def installed(folder: Path, url: str, rules: dict[str, Any], interval: str) -> Installation:
    """An installation with these rules on `planted > 0.5`."""
    place = Installation(folder, {"PROMETHEUS_URL": url})
    place.configure({"http_requests": entry("share_ratio")})
    thresholds = {name: {**COMMON, **one} for name, one in rules.items()}
    place.write_yaml("alert-thresholds.yaml", {"interval": interval, "thresholds": thresholds})
    return place


def firings_of(place: Installation, window: Window) -> dict[str, tuple[Firing, ...]]:
    settings = load_settings(place.environment)
    with closing(Past(settings, settings.environment(None))) as past:
        tests = [one for rule in past.chosen([]) for one in past.tests(rule, window)]
    assert [one.problem for one in tests if one.problem] == []
    assert {one.days for one in tests} == {-(-window.length // timedelta(days=1))}
    return {one.alert: one.firings for one in tests}


def breaches(*spans: tuple[int, int]) -> list[float]:
    """1 in the minutes of the spans (the last not included), else 0."""
    return [float(any(a <= minute < b for a, b in spans)) for minute in range(MINUTES)]


SERIES = {
    ("planted", "a"): breaches((200, 230), (EDGE - 30, EDGE + 20), (EDGE + 28, EDGE + 30)),
    # flaps, and once for less than `for`
    ("planted", "b"): breaches((300, 306), (307, 312), (330, 334), (MINUTES - 10, MINUTES)),
    # within the answer's edge, and just before it
    ("planted", "c"): breaches((EDGE - 6, EDGE), (EDGE + 2, EDGE + 8)),
    ("trains", "a"): [float(m < EDGE - 2 or m > EDGE + 5) for m in range(MINUTES)],
    ("level", "a"): [0.7 if 1495 <= m <= 1505 else 0.3 if m < 960 else 0.1 for m in range(MINUTES)],
    ("gone", "a"): [float("nan") if 500 <= m < 530 or m > 2_000 else 0.0 for m in range(MINUTES)],
}


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> PrometheusVersion:
    found: PrometheusVersion = request.param
    return found


@pytest.fixture(scope="module")
def place(
    version: PrometheusVersion, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """An installation with a server that has 40 hours of data, and never ran a rule."""
    series = {selector(name, {"instance": of}): values for (name, of), values in SERIES.items()}
    text = history(series, int(START.timestamp()), 60)
    home = tmp_path_factory.mktemp("prometheus")
    with PrometheusServer(home, text, version=version) as server:
        yield installed(tmp_path_factory.mktemp("installed"), server.url, RULES, "1m")


@pytest.fixture(scope="module")
def firings(place: Installation) -> dict[str, tuple[Firing, ...]]:
    with pytest.MonkeyPatch.context() as few:
        few.setattr(prometheus, "MAX_POINTS", POINTS)
        return firings_of(place, WINDOW)


@pytest.mark.parametrize(
    ("for_", "limit", "fired"),
    # 0.7 lasted for 11 minutes of the last day, over the end of a query, 0.3 for hours of the one before
    [("10m", 0.7, [1, 0]), ("11m", 0.3, [0, 0])],
)
def test_a_limit_is_learned_from_a_query(
    for_: str, limit: float, fired: list[int], place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "DAYS_A_BREACH", 2)
    monkeypatch.setattr(prometheus, "MAX_POINTS", 100)
    settings = load_settings(place.environment)
    levels = Threshold.model_validate(
        {**COMMON, "id": "levels", "expr": "level / on (instance) trains", "for": for_}
    )
    with closing(Past(settings, settings.environment(None))) as past:
        learned, tests = past.learn(levels, WINDOW)
        twice = levels.model_copy(update={"expr": '{__name__=~"planted|trains"}'})
        (refused,) = past.tests(twice, WINDOW)

    assert (learned.limit, learned.days) == (limit, 2)
    assert [len(one.firings) for one in tests] == fired
    assert "two series have the labels" in refused.problem


def run_length(values: list[float]) -> str:
    """Values as promtool's tests write them."""
    parts = ((value, len(list(same))) for value, same in groupby(map(str, values)))
    # a value is repeated so often after the first one
    return " ".join(
        f"_x{count}" if value == "nan" else f"{value}x{count - 1}" for value, count in parts
    )


def minute(moment: datetime) -> int:
    return round((moment - START) / MINUTE)


def expectations(firings: dict[str, tuple[Firing, ...]]) -> Iterator[dict[str, Any]]:
    """What promtool has to find: who fires around each edge, since when, and how long in all."""
    spans = [
        (name, dict(one.labels).get("instance", ""), minute(one.since), minute(one.fired),
         minute(one.resolved) if one.resolved else MINUTES)
        for name, of_rule in firings.items() for one in of_rule
    ]  # fmt: skip
    common = {"alertstate": "firing", "alertname!": "Watchdog"}
    alerts = f"ALERTS{{{','.join(f'{key}={text!r}' for key, text in common.items())}}}"
    edges = {at for *_, fired, resolved in spans for at in (fired, resolved)}
    for at in sorted(at for edge in edges for at in (edge - 1, edge) if 0 <= at < MINUTES):
        firing = {(name, of) for name, of, _, fired, resolved in spans if fired <= at < resolved}
        yield expectation(f"max by (alertname, instance) ({alerts})", at, dict.fromkeys(firing, 1))
    for name, of, since, fired, _ in spans:
        query = f"ALERTS_FOR_STATE{{alertname='{name}',instance='{of}'}}"
        query = f"max by (alertname, instance) ({query})"
        yield expectation(query, fired, {(name, of): since * 60})
    lengths: dict[tuple[str, str], int] = {}
    for name, of, _, fired, resolved in spans:
        lengths[name, of] = lengths.get((name, of), 0) + resolved - fired
    counted = f"sum by (alertname, instance) (count_over_time({alerts}[{2 * MINUTES}m]))"
    yield expectation(counted, MINUTES - 1, lengths)


def expectation(query: str, at: int, values: dict[tuple[str, str], int]) -> dict[str, Any]:
    samples = [
        {"labels": f'{{alertname="{name}"' + (f',instance="{of}"' if of else "") + "}", "value": value}
        for (name, of), value in values.items()
    ]  # fmt: skip
    return {"expr": query, "eval_time": f"{at}m", "exp_samples": samples}


def promtool(
    version: PrometheusVersion, folder: Path, firings: dict[str, tuple[Firing, ...]], minutes: int
) -> "subprocess.CompletedProcess[str]":
    rules = [Threshold.model_validate({"id": name, **COMMON, **one}) for name, one in RULES.items()]
    (folder / "rules.yml").write_text(rule_file(rules, "production", MINUTE))
    series = [
        {"series": selector(name, {"instance": of}), "values": run_length(values)}
        for (name, of), values in SERIES.items()
    ]
    test: dict[str, Any] = {"interval": "1m", "input_series": series}
    test["promql_expr_test"] = [
        one for one in expectations(firings) if int(one["eval_time"][:-1]) < minutes
    ]
    content = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]}
    (folder / "tests.yml").write_text(yaml.safe_dump(content))
    tool = "promtool" if version == "2" else "promtool3"
    command = [program(tool, "make servers", CACHE), "test", "rules", str(folder / "tests.yml")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.promise("Alerts: a back-test fires exactly when Prometheus's own engine does")
def test_a_back_test_fires_as_prometheus_does(
    version: PrometheusVersion, firings: dict[str, tuple[Firing, ...]], tmp_path: Path
) -> None:
    assert {name: len(found) for name, found in firings.items()} == {
        "plain": 9, "held": 6, "kept": 6, "both": 5, "conditional": 5, "gone": 0, "gone_no_data": 2,
    }  # fmt: skip
    across = [
        one
        for one in firings["both"]
        if one.resolved and minute(one.fired) < EDGE < minute(one.resolved)
    ]
    assert [dict(one.labels)["instance"] for one in across] == ["a", "c"]
    done = promtool(version, tmp_path, firings, MINUTES)

    assert (done.returncode, done.stdout.count("SUCCESS")) == (0, 1), done.stdout + done.stderr


@pytest.mark.parametrize("rule", ["plain", "both"])
def test_one_evaluation_more_is_noticed(
    rule: str, version: PrometheusVersion, firings: dict[str, tuple[Firing, ...]], tmp_path: Path
) -> None:
    first, *rest = firings[rule]
    assert first.resolved is not None
    late = Firing(first.labels, first.since, first.fired, first.resolved + MINUTE)

    right = promtool(version, tmp_path, firings, 250)
    wrong = promtool(version, tmp_path, firings | {rule: (late, *rest)}, 250)

    assert (right.returncode, wrong.returncode != 0) == (0, True)


def live_spans(server: PrometheusServer, end: float) -> dict[str, list[tuple[float, float]]]:
    """First and last evaluation of each time that a rule of the server fired, by its ALERTS."""
    found: dict[str, list[tuple[float, float]]] = {}
    for one in server.query('ALERTS{alertstate="firing",alertname!="Watchdog"}[1m]', end):
        spans = found.setdefault(one["metric"]["alertname"], [])
        for at, _ in one["values"]:
            if spans and at - spans[-1][1] < 0.9:
                spans[-1] = (spans[-1][0], at)
            else:
                spans.append((at, at))
    return found


@pytest.mark.promise("Alerts: a back-test fires when a Prometheus that ran the rules did")
def test_a_back_test_finds_what_a_server_saw_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three episodes in 16 seconds; both versions scrape the same values and run the same rules."""
    half = timedelta(seconds=0.5)
    episodes = ((1.0, 3.5), (6.5, 9.0), (9.8, 10.3), (13.0, 15.5))
    began = [float("inf")]

    def page(_: Request) -> Response:
        now = time.time() - began[0]
        return Response(f"planted {int(any(a <= now < b for a, b in episodes))}\n")

    place = installed(tmp_path, "http://127.0.0.1:1", LIVE, "500ms")
    text = rule_file(read_thresholds(place.config / "alert-thresholds.yaml"), "production", half)
    config = {"global": {"scrape_interval": "250ms", "evaluation_interval": "500ms"}}
    # a query has 4 seconds, and one of `both` ends within the last episode
    monkeypatch.setattr(prometheus, "MAX_POINTS", 8)
    with ExitStack() as stack:
        exporter = stack.enter_context(HTTPServer(threaded=True))
        exporter.expect_request("/metrics").respond_with_handler(page)
        scrape = {"planted": [f"127.0.0.1:{exporter.port}"]}
        servers = []
        for version in VERSIONS:
            (tmp_path / version).mkdir()
            server = PrometheusServer(
                tmp_path / version, scrape=scrape, rules=text, config=config, version=version
            )
            servers.append(stack.enter_context(server))
        eventually(lambda: all(server.query("planted") for server in servers))
        began[0] = time.time()
        time.sleep(19)
        end = time.time()
        middle = datetime.fromtimestamp(began[0] + 14.25, UTC)
        window = Window(
            middle - 4 * timedelta(seconds=4) + timedelta(seconds=3) + half,
            datetime.fromtimestamp(end, UTC),
        )
        for server in servers:
            place.variables["PROMETHEUS_URL"] = server.url
            ours, theirs = firings_of(place, window), live_spans(server, end)
            assert {name: len(spans) for name, spans in theirs.items()} == {
                "plain": 4, "held": 3, "both": 3,
            }  # fmt: skip
            for name, found in ours.items():
                assert len(found) == len(theirs[name])
                for one, (first, last) in zip(found, theirs[name], strict=True):
                    assert one.resolved is not None
                    # the server evaluates at its own moments, and a scrape takes some milliseconds
                    assert abs(one.fired.timestamp() - first) <= 0.55
                    assert abs((one.resolved - half).timestamp() - last) <= 0.55

"""Google Cloud Monitoring: what is sent, what it refuses, and what may be taken twice."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.api.metric_pb2 import MetricDescriptor
from google.api_core.exceptions import InvalidArgument
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.catalogue import Catalogue
from tasks.core.errors import (
    CertificateInvalid,
    ConfigurationInvalid,
    FedvitalsError,
    SinkRefused,
    SinkUnavailable,
)
from tasks.core.metric_services import GcpTuning, Metric
from tasks.core.ports import CellAnswer, CellToLoad
from tasks.core.receipt import SinkValues
from tasks.core.services import GcpService
from tasks.core.settings import load_settings
from tasks.core.window import Cell, floor
from tasks.runs.base.registry import sinks_in, why_off
from tasks.sinks.gcp import GcpSink, check
from tasks.sinks.metrics_sink import Prepared, Unfit, Volume
from tasks.sinks.points import Point
from tests.support.fakes.gcp import (
    FakeMonitoring,
    FakeTokens,
    Trouble,
    fake_monitoring,
    new_certificate,
    raw,
)
from tests.support.sink_samples import HOUR, make_frame, make_measurement

pytestmark = pytest.mark.filterwarnings("ignore:The load_credentials_from_file:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[3]
MEASUREMENT = make_measurement(("room",), x="float", y="float")
HERE = floor(datetime.now(UTC), HOUR) - HOUR
CELL, EARLY = Cell(HERE, HERE + HOUR), Cell(HERE - HOUR, HERE)
OLD = Cell(HERE - 26 * HOUR, HERE - 25 * HOUR)
SENT = {"latency.x": Metric(name="fl/x"), "latency.y": Metric(name="fl/y")}
ACCOUNT = "writer@fl-project.iam.gserviceaccount.com"
SECRET = "not-for-anyone"
UNAVAILABLE, DENIED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED


@contextmanager
def sink_to(service: GcpService, deadline: float = 0.0, **tuning: Any) -> Iterator[GcpSink]:
    known = GcpTuning.model_validate({"enabled": True, "send": SENT, **tuning})
    with closing(GcpSink(service, known, deadline)) as sink:
        yield sink


@pytest.fixture
def fake() -> Iterator[FakeMonitoring]:
    with fake_monitoring() as fake:
        yield fake


def cell(values: Sequence[float], at: Cell = CELL, **more: Any) -> CellToLoad:
    """A cell of two values a minute, of which y is the greater by 100."""
    start = at.start.timestamp()
    rows = [
        {"time": start + 60 * n, "room": "a", "x": value, "y": value + 100}
        for n, value in enumerate(values)
    ]
    return CellToLoad(at, make_frame(MEASUREMENT, rows), **more)


def load(sink: GcpSink, *cells: CellToLoad) -> list[CellAnswer]:
    """The whole answers."""
    answers = list(sink.load(MEASUREMENT, "production", list(cells)))
    return [answer for answer in answers if answer.is_whole]


def point(time_: float, series: int = 0, value: float = 1.0, **labels: str) -> Point:
    metric, values = Metric(name=f"fl/m{series}"), np.array([value])
    return Point(0, metric, "x", tuple(labels.items()), int(time_), values, np.array([0]))


def values_of(fake: FakeMonitoring, metric: str) -> list[float]:
    return [value for name, _, value in fake.points if name.endswith(metric)]


def test_by_default_the_guide_s_metrics_are_sent_with_their_units(
    fake: FakeMonitoring, tmp_path: Path
) -> None:
    shipped = (ROOT / "config" / "sinks.yaml").read_text("utf-8")
    for path in (ROOT / "config").glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text("utf-8"), "utf-8")
    switched_on = shipped.replace("gcp:\n  enabled: false", "gcp:\n  enabled: true")
    (tmp_path / "sinks.yaml").write_text(switched_on, "utf-8")
    known = load_settings(
        {
            "FEDVITALS_CONFIG": str(tmp_path),
            "FEDVITALS_HOME": str(tmp_path / "home"),
            "GCP_MONITORING_URL": fake.url,
            "GCP_MONITORING_SA": ACCOUNT,
        }
    )
    progress = Catalogue.read(tmp_path / "metrics.yaml")["fl_progress"]
    row = {"time": HERE.timestamp(), "completed_rounds": 3, "active_clients": 7}
    frame = make_frame(progress, [{**row, "accuracy_ratio": 0.95, "run_id": "r"}])
    ((kind, opening),) = sinks_in(known, known.environment(None))
    with closing(kind.open(opening)) as sink:
        (answer,) = sink.load(progress, "production", [CellToLoad(CELL, frame)])

    assert answer.values == SinkValues(owed=4, loaded=2, skipped_by_rule=2)
    name = "custom.googleapis.com/fed_vit_autorl"
    assert fake.taken == {
        (f"{name}/active_clients", (("environment", "production"),)): [(row["time"], 7.0)],
        (f"{name}/training_accuracy", (("environment", "production"),)): [(row["time"], 0.95)],
    }
    made = fake.descriptors[f"{name}/active_clients"]
    assert (made.unit, made.description[:7]) == ("{clients}", "clients")
    assert [label.key for label in made.labels] == ["environment"]
    assert fake.descriptors[f"{name}/training_accuracy"].unit == "1"


def test_a_day_is_sent_in_order_and_the_counts_agree(fake: FakeMonitoring) -> None:
    # far enough from the oldest time that Google takes for a suite that runs for an hour
    hours = [Cell(HERE - n * HOUR, HERE - (n - 1) * HOUR) for n in range(20, -1, -1)]
    with sink_to(fake.service(), step="5m") as sink:
        answers = load(sink, *[cell(range(60), hour) for hour in hours])
        volume = sink.volume(MEASUREMENT, cell(range(60)).frame)
    assert sum(answer.values.loaded for answer in answers) == 21 * 60 * 2
    assert len(fake.points) == 21 * 12 * 2
    assert fake.requests == [2] * (21 * 12)
    assert volume == Volume(series=2, points=24, requests=12)


@st.composite
def batches(draw: st.DrawFn) -> list[Point]:
    """Points by time, some of which no request can hold."""
    moments = st.tuples(st.integers(0, 5), st.integers(0, 300), st.sampled_from("aaaab"))
    drawn = draw(st.lists(moments, max_size=60, unique=True))
    wide = draw(st.integers(0, 450))
    every = sorted({*drawn, *((1, series, "a") for series in range(wide))})
    labels = {"a": {"k": "v" * 1024}, "b": {"k": "v" * 1025}}
    return [point(60 * step, series, **labels[kind]) for step, series, kind in every]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(points=batches())
def test_any_batch_is_cut_within_the_limits_and_nothing_is_left_out(points: list[Point]) -> None:
    with sink_to(GcpService(url="http://127.0.0.1:9", origin="", project="p")) as sink:
        made = list(sink.prepare(points))
    unfit = [each.point for each in made if isinstance(each, Unfit)]
    requests = [each.points for each in made if isinstance(each, Prepared)]
    assert unfit == [each for each in points if len(each.labels[0][1]) > 1024]
    # in order, so that the ledger's time of each request holds
    assert [each for request in requests for each in request] == [
        each for each in points if each not in unfit
    ]
    series = [{each.series for each in request} for request in requests]
    assert all(len(a) == len(b) <= 200 for a, b in zip(series, requests, strict=True))
    # full: 200 of them, or the next one's series is in it
    for held, following in zip(series, requests[1:], strict=False):
        assert len(held) == 200 or following[0].series in held


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({f"k{n}": "v" for n in range(31)}, "31 labels"),
        ({"k" * 101: "v"}, "kk or its value is too long"),
        ({"key": "v" * 1025}, "the label key or its value is too long"),
    ],
)
def test_a_point_that_no_request_can_hold_is_unfit(labels: dict[str, str], reason: str) -> None:
    with sink_to(GcpService(url="http://127.0.0.1:9", origin="", project="p")) as sink:
        (unfit, fit) = sink.prepare([point(0, **labels), point(0)])
    assert isinstance(unfit, Unfit)
    assert reason in unfit.reason
    assert isinstance(fit, Prepared)


@pytest.mark.parametrize("names_positions", [True, False])
def test_what_is_refused_is_counted_with_its_reason_and_its_neighbours_load(
    fake: FakeMonitoring, names_positions: bool
) -> None:
    fake.names_positions = names_positions
    fake.refuse = lambda series, value: "unlucky" if value in (2, 103) else None
    with sink_to(fake.service()) as sink:
        (answer,) = load(sink, cell([1, 2, 3]))
    assert answer.values == SinkValues(owed=6, loaded=4, refused=2)
    assert answer.refusals["number"].tolist() == [2, 103]
    assert all("unlucky" in reason for reason in answer.refusals["reason"])
    assert values_of(fake, "x") == [1, 3]
    assert len(fake.requests) == (3 if names_positions else 7)


def test_an_answer_that_names_200_refused_points_is_read(fake: FakeMonitoring) -> None:
    fake.refuse = lambda series, value: "unlucky " * 20 if value == 13 else None
    points = [point(HERE.timestamp(), n, 13.0 if n else 1.0) for n in range(200)]
    with sink_to(fake.service()) as sink:
        (request,) = sink.prepare(points)
        assert isinstance(request, Prepared)
        assert sorted(sink.send(request)) == list(range(1, 200))
    assert fake.requests == [200]


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(UNAVAILABLE),
        Trouble(UNAVAILABLE, is_written=True),
        Trouble(grpc.StatusCode.INTERNAL, is_written=True),
        Trouble(grpc.StatusCode.UNKNOWN, of_part=True),
        Trouble(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=0),
    ],
)
def test_after_a_retry_what_was_taken_counts_as_delivered(
    fake: FakeMonitoring, trouble: Trouble
) -> None:
    fake.troubles = [None, trouble]
    with sink_to(fake.service(), deadline=20.0) as sink:
        (answer,) = load(sink, cell([1, 2, 3]))
    assert answer.values == SinkValues(owed=6, loaded=6)
    assert values_of(fake, "x") == [1, 2, 3]
    assert fake.requests == [2] * 4


def test_out_of_order_without_a_retry_is_refused(fake: FakeMonitoring) -> None:
    fake.other_writer = HERE.timestamp() + 90
    with sink_to(fake.service()) as sink:
        (answer,) = load(sink, cell([1, 2, 3]))
    # the first may be one of a run that was killed
    assert answer.values == SinkValues(owed=6, loaded=4, refused=2)
    assert "in order" in answer.refusals["reason"].iloc[0]


def test_what_may_be_sent_twice_is_one_request_and_no_point_is_taken_twice(
    fake: FakeMonitoring,
) -> None:
    fake.troubles = [None, Trouble(UNAVAILABLE, is_written=True)]
    with sink_to(fake.service()) as sink:
        (sent, left) = sink.load(MEASUREMENT, "production", [cell([1, 2, 3])])
    assert isinstance(left.error, SinkUnavailable)
    assert left.values == SinkValues(owed=6, loaded=2, pending=4)
    with sink_to(fake.service()) as sink:
        (answer,) = load(sink, cell([1, 2, 3], sent_until=sent.sent_until))
    assert answer.values == SinkValues(owed=6, loaded=4, skipped_by_rule=2)
    assert values_of(fake, "x") == [1, 2, 3]


def test_what_is_too_old_or_older_than_its_series_is_skipped_and_counted(
    fake: FakeMonitoring,
) -> None:
    with sink_to(fake.service()) as sink:
        answers = [load(sink, each)[0] for each in (cell([1], OLD), cell([2]), cell([3], EARLY))]
    skipped = SinkValues(owed=2, skipped_by_rule=2)
    assert [each.values for each in answers] == [skipped, SinkValues(owed=2, loaded=2), skipped]
    assert fake.requests == [2]


@pytest.mark.parametrize(
    ("trouble", "kind", "fact"),
    [
        (Trouble(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=7), SinkUnavailable, 7.0),
        (Trouble(UNAVAILABLE, seconds=1.0), SinkUnavailable, None),
        (Trouble(DENIED), SinkRefused, 403),
        (Trouble(grpc.StatusCode.UNAUTHENTICATED), SinkRefused, 401),
        (Trouble(grpc.StatusCode.INVALID_ARGUMENT), SinkRefused, 400),
    ],
)
def test_an_error_says_whether_it_may_pass(
    fake: FakeMonitoring, trouble: Trouble, kind: type[FedvitalsError], fact: float | None
) -> None:
    fake.troubles = [trouble]
    begun = time.monotonic()
    with sink_to(fake.service(), timeout="300ms") as sink:
        (answer,) = load(sink, cell([1]))
    assert time.monotonic() - begun < 1.0
    assert type(answer.error) is kind
    assert answer.error.facts.get("retry_after", answer.error.facts.get("status")) == fact
    assert answer.values == SinkValues(owed=2, pending=2)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ([[raw()], [raw(time_=60)]], None),
        ([[raw(labels={"n": str(n)}) for n in range(200)]], None),
        ([[raw(labels={"n": str(n)}) for n in range(201)]], "more than 200"),
        ([[raw(points=2)]], "not one point"),
        ([[raw(), raw(time_=60)]], "Duplicate TimeSeries"),
        ([[raw(time_=60)], [raw()]], "in order"),
        ([[raw()], [raw()]], "more frequently"),
        ([[raw()], [raw(time_=9)]], "more frequently"),
        ([[raw(time_=-26 * 3600)]], "25h in the past"),
        ([[raw(time_=3 * 3600)]], "5 min ahead"),
        ([[raw(labels={f"k{n}": "v" for n in range(31)})]], "label"),
        ([[raw(labels={"k" * 101: "v"})]], "label"),
        ([[raw(labels={"k": "v" * 1025})]], "label"),
        ([[raw(value={"int64_value": 1})]], "must be DOUBLE"),
        ([[raw("other")]], "descriptor"),
        ([[]], "missing field"),
    ],
)
def test_the_fake_refuses_what_the_service_refuses(
    fake: FakeMonitoring, sent: list[list[dict[str, Any]]], why: str | None
) -> None:
    fake.descriptors[raw()["metric"]["type"]] = MetricDescriptor()
    with sink_to(fake.service()) as sink:
        *good, last = sent
        for series in good:
            sink.call("create_time_series", time_series=series)
        if why is None:
            sink.call("create_time_series", time_series=last)
        else:
            with pytest.raises(InvalidArgument, match=why):
                sink.call("create_time_series", time_series=last)


def test_a_descriptor_is_created_once_a_run_and_an_equal_one_is_fine(fake: FakeMonitoring) -> None:
    for minute in (0, 1):
        with sink_to(fake.service()) as sink:
            (answer,) = load(sink, cell([1] * (minute + 1), sent_until=HERE + minute * HOUR / 60))
        assert answer.values.loaded == 2
    for made in fake.descriptors.values():
        made.value_type = made.INT64
    with sink_to(fake.service()) as sink:
        (answer,) = load(sink, cell([1, 2, 3], sent_until=HERE + HOUR / 30))
    assert isinstance(answer.error, SinkRefused)
    assert "another value type" in str(answer.error)
    assert "Fix: delete custom.googleapis.com/fl/" in str(answer.error)


def test_without_the_library_it_says_which_extra_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = load_settings({"GCP_MONITORING_SA": ACCOUNT, "FEDVITALS_CONFIG": str(ROOT / "config")})
    known = replace(known, sinks={"gcp": GcpTuning(enabled=True)})
    args = "fedvitals.sinks", "gcp", known, known.environment(None)
    assert why_off(*args) is None
    monkeypatch.setattr("tasks.runs.base.registry.find_spec", lambda name: None)
    assert "pip install 'fedvitals[gcp]'" in str(why_off(*args))


def test_the_check_asks_for_the_permission_and_writes_nothing(fake: FakeMonitoring) -> None:
    (good,) = check(fake.service())
    fake.may_write = False
    (denied,) = check(fake.service(service_account=ACCOUNT))
    (lost,) = check(fake.service(project=""))
    (down,) = check(GcpService(url="http://127.0.0.1:9", origin="GCP_MONITORING_URL", project="p"))
    assert (good.ok, good.detail, fake.taken) == (True, "the project fl-project", {})
    assert "denied" in denied.detail
    assert denied.fix.startswith(f"Give {ACCOUNT} the role monitoring.metricWriter")
    assert lost.fix.startswith("Set GCP_PROJECT")
    assert "GCP_MONITORING_URL" in down.fix
    assert not any(each.ok for each in (denied, lost, down))


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeTokens:
    """Application default credentials of a user, and what answers them."""
    facts = {"type": "authorized_user", "client_id": "c", "client_secret": SECRET}
    path = tmp_path / "adc.json"
    path.write_text(json.dumps({**facts, "refresh_token": SECRET}), "utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    fake = FakeTokens()
    monkeypatch.setattr("tasks.sinks.gcp.Request", lambda: fake)
    return fake


@pytest.fixture
def secure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeMonitoring]:
    """A fake with a certificate of a CA that REQUESTS_CA_BUNDLE names."""
    presented = new_certificate(tmp_path / "ca.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with fake_monitoring(presented) as fake:
        yield fake


@pytest.mark.parametrize(("account", "token"), [(ACCOUNT, "of the account"), ("", "own")])
def test_a_service_account_is_impersonated_over_the_default_credentials(
    secure: FakeMonitoring, tokens: FakeTokens, account: str, token: str
) -> None:
    with sink_to(secure.service(service_account=account)) as sink:
        (answer,) = load(sink, cell([1, 2]))
    assert answer.values == SinkValues(owed=4, loaded=4)
    assert set(secure.tokens) == {f"Bearer {token}"}
    assert [ACCOUNT in url for url in tokens.asked] == ([False, True] if account else [False])
    assert set(tokens.seconds) == {10.0}


@pytest.mark.parametrize(
    ("status", "down", "kind", "fix"),
    [
        (403, False, SinkRefused, f"iam.serviceAccountTokenCreator on {ACCOUNT}"),
        (503, False, SinkUnavailable, ""),
        (200, True, SinkUnavailable, ""),
    ],
)
def test_without_a_token_it_says_why_and_shows_no_secret(
    secure: FakeMonitoring,
    tokens: FakeTokens,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    down: bool,
    kind: type[FedvitalsError],
    fix: str,
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    tokens.status, tokens.down = status, down
    with sink_to(secure.service(service_account=ACCOUNT)) as sink:
        (answer,) = load(sink, cell([1]))
    assert type(answer.error) is kind
    assert fix in str(answer.error)
    assert SECRET not in str(answer.error)
    assert secure.requests == []


def test_a_certificate_of_another_ca_is_not_trusted(
    secure: FakeMonitoring, tokens: FakeTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with sink_to(secure.service()) as sink:
        (answer,) = load(sink, cell([1]))
    assert isinstance(answer.error, CertificateInvalid)
    assert "REQUESTS_CA_BUNDLE" in str(answer.error)


@pytest.mark.parametrize("named", ["missing.json", "bad.json", ""])
def test_without_credentials_it_says_what_to_set_and_looks_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str
) -> None:
    (tmp_path / "bad.json").write_text("{}", "utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / named) if named else "")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("it looks for a server"))
    service = GcpService(url="https://127.0.0.1:9", origin="", service_account=ACCOUNT)
    with sink_to(service) as sink:
        (answer,) = load(sink, cell([1]))
    assert isinstance(answer.error, ConfigurationInvalid)
    assert "Fix: set GOOGLE_APPLICATION_CREDENTIALS" in str(answer.error)


@pytest.mark.parametrize(
    ("account", "project", "expected"),
    [
        (ACCOUNT, "", "fl-project"),
        (ACCOUNT, "other", "other"),
        ("1-compute@developer.gserviceaccount.com", "", ""),
    ],
)
def test_the_project_is_that_of_the_service_account(
    account: str, project: str, expected: str
) -> None:
    service = GcpService(url="https://x", origin="", service_account=account, project=project)
    assert (service.project, service.target) == (expected, f"https://x {expected}")

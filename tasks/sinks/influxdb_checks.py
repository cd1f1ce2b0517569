"""Whether an InfluxDB is ready to be loaded into, and the bucket that it lacks."""

from datetime import timedelta
from http import HTTPStatus
from typing import Any

from tasks.core.checks import ServiceCheck
from tasks.core.errors import FedvitalsError
from tasks.core.outside import read_json
from tasks.core.services import InfluxService
from tasks.sinks.influxdb_http import (
    NAME,
    Answer,
    InfluxHttp,
    Lists,
    fix_of,
    found,
    quoted,
    retention_of,
)
from tasks.sinks.victoriametrics import VictoriaMetrics

TIMEOUT = timedelta(seconds=10)
CREATE = "bucket"


def check(service: InfluxService) -> tuple[ServiceCheck, ...]:
    """Whether the service runs, takes the token, has the organisation and the bucket, and lets the
    token write and read it. Nothing is stored.

    A check that failed is the last one, but for the write: reading is looked at all the same.
    """
    checks: list[ServiceCheck] = []
    with InfluxHttp(service, TIMEOUT, total_per_timeout=1.0) as http:
        try:
            if victoria := VictoriaMetrics.find(http, http.find_bucket()):
                keeps = f", keeps {victoria.keeps}" if victoria.keeps else ""
                is_there = ServiceCheck(NAME, "reachable", True, f"VictoriaMetrics{keeps}")
                return is_there, _may_write(http)
            for look in (
                _runs,
                _takes_token,
                _has_organisation,
                _has_bucket,
                _may_write,
                _may_read,
            ):
                checks.append(look(http))
                if not checks[-1].ok and look is not _may_write:
                    break
        except FedvitalsError as error:
            checks.append(_unreachable(service, error))
    return tuple(checks)


def create_bucket(service: InfluxService) -> ServiceCheck:
    """Makes the service's bucket, to keep its points for ever; one that is there is left alone."""
    with InfluxHttp(service, TIMEOUT, total_per_timeout=1.0) as http:
        try:
            if VictoriaMetrics.find(http, http.find_bucket()):
                return ServiceCheck(NAME, CREATE, True, "VictoriaMetrics has no buckets")
            answer = http.ask("GET", "/api/v2/orgs", {"org": service.org})
            # a token that may not see the organisation gets an empty list
            if orgs := _lists(answer).orgs:
                body = {"name": service.bucket, "orgID": orgs[0].id, "retentionRules": []}
                answer = http.ask("POST", "/api/v2/buckets", body=body)
        except FedvitalsError as error:
            return _unreachable(service, error)
    if answer.status == HTTPStatus.CREATED:
        return ServiceCheck(
            NAME, CREATE, True, f"{service.bucket} was created, and keeps its points for ever"
        )
    if "already exists" in answer.message:
        return ServiceCheck(NAME, CREATE, True, f"{service.bucket} was there already")
    if answer.status == HTTPStatus.NOT_FOUND:
        return _judged(http, CREATE, answer, "")
    if answer.status == HTTPStatus.BAD_REQUEST:
        return ServiceCheck(NAME, CREATE, False, _detail(answer), "Correct INFLUXDB_BUCKET")
    fix = (
        "Run it with a token that may make buckets in the organisation, or make the bucket "
        f"{service.bucket} in InfluxDB's own pages"
    )
    return ServiceCheck(NAME, CREATE, False, _detail(answer), fix)


def _runs(http: InfluxHttp) -> ServiceCheck:
    answer = http.ask("GET", "/health")
    health = _content(answer)
    passes = answer.status == HTTPStatus.OK and health.get("status") == "pass"
    return _judged(http, "reachable", answer, f"version {health.get('version')}", passes)


def _takes_token(http: InfluxHttp) -> ServiceCheck:
    answer = http.ask("GET", "/api/v2/orgs")
    if answer.status != HTTPStatus.OK and http.service.token is None:
        return ServiceCheck(NAME, "token", False, "none is set", fix_of(answer, http.service))
    return _judged(http, "token", answer, "is known")


def _has_organisation(http: InfluxHttp) -> ServiceCheck:
    answer = http.ask("GET", "/api/v2/orgs", {"org": http.service.org})
    return _judged(http, "organisation", answer, http.service.org)


def _has_bucket(http: InfluxHttp) -> ServiceCheck:
    answer = http.find_bucket()
    kept = retention_of(_lists(answer))
    keeps = f", keeps {kept}" if kept else ""
    return _judged(http, "bucket", answer, f"{http.service.bucket}{keeps}")


def _may_write(http: InfluxHttp) -> ServiceCheck:
    bucket = http.service.bucket
    place = {"org": http.service.org, "bucket": bucket}
    text = {"Content-Type": "text/plain; charset=utf-8"}
    answer = http.ask("POST", "/api/v2/write", place, b"", text)
    # the permission is looked at first; before 2.7 a post without points is a bad request
    is_let = answer.written or answer.status == HTTPStatus.BAD_REQUEST
    return _judged(http, "may write", answer, bucket, is_let)


def _may_read(http: InfluxHttp) -> ServiceCheck:
    service = http.service
    bucket = quoted(service.bucket).replace("${", r"\${")
    flux = f"from(bucket: {bucket}) |> range(start: -1s) |> limit(n: 1)"
    body = {"query": flux, "type": "flux"}
    answer = http.ask("POST", "/api/v2/query", {"org": service.org}, body)
    if answer.status == HTTPStatus.OK:
        return ServiceCheck(NAME, "may read", True, service.bucket)
    fix = (
        f"Let the token read the bucket {service.bucket} too, or give Grafana one that may; "
        "fedvitals loads without it"
    )
    return ServiceCheck(NAME, "may read", False, _detail(answer), fix)


def _lists(answer: Answer) -> Lists:
    try:
        return found(answer)
    except ValueError:
        return Lists()


def _content(answer: Answer) -> dict[str, Any]:
    try:
        content = read_json(answer.body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _detail(answer: Answer) -> str:
    return f"HTTP {answer.status}: {answer.short}"


def _judged(
    http: InfluxHttp, what: str, answer: Answer, detail: str, passes: bool | None = None
) -> ServiceCheck:
    """Pass with the detail, by default when the answer is OK, or fail with its reason."""
    if answer.status == HTTPStatus.OK if passes is None else passes:
        return ServiceCheck(NAME, what, True, detail)
    return ServiceCheck(NAME, what, False, _detail(answer), fix_of(answer, http.service))


def _unreachable(service: InfluxService, error: FedvitalsError) -> ServiceCheck:
    fix = error.facts.get("fix") or f"Start InfluxDB, or correct its URL ({service.origin})"
    return ServiceCheck(NAME, "reachable", False, error.problem, fix)

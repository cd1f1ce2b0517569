"""What a finished run hands on: its artifacts, a mark on Grafana's dashboards, a heartbeat."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

from tasks.core.errors import FedvitalsError
from tasks.core.receipt import DeliveryKind, Receipt
from tasks.runs.base.run import Run

# a mark on a dashboard is worth no longer wait
CHANNEL_PATIENCE = timedelta(seconds=10)


def deliver(run: Run, receipt: Receipt) -> Receipt:
    """Hand the artifacts on, and complete the receipt in the ledger."""
    publish = run.publish
    if publish is not None and run.artifacts:
        _try(run, "artifacts", lambda: publish(run.artifacts))
    return run.complete(receipt)


def deliver_everywhere(run: Run, receipt: Receipt) -> Receipt:
    """Hand the run on to the channels too: an annotation of each run, a heartbeat of each that did
    its work."""
    service, url = run.environment.grafana, run.settings.heartbeat_url
    if service is not None and service.token is not None:
        _try(run, "channel", lambda: _annotate(run, receipt))
    if url is not None and receipt.did_its_work:
        _try(run, "heartbeat", lambda: _beat(run))
    return deliver(run, receipt)


def _try(run: Run, what: DeliveryKind, send: Callable[[], object]) -> None:
    try:
        send()
    except FedvitalsError as error:
        run.delivered(what, str(error))
    else:
        run.delivered(what)


def _annotate(run: Run, receipt: Receipt) -> None:
    from tasks.channels.grafana import GrafanaChannel, annotation_of

    service = run.environment.grafana
    assert service is not None, "the caller looked"
    patience = min(run.settings.pipeline.patience, CHANNEL_PATIENCE)
    with closing(GrafanaChannel(service, patience)) as channel:
        channel.send(annotation_of(receipt, datetime.now(UTC)))


def _beat(run: Run) -> None:
    from tasks.channels.heartbeat import Heartbeat

    assert run.settings.heartbeat_url is not None, "the caller looked"
    Heartbeat(run.settings.heartbeat_url).send()

"""What a finished run hands on: its artifacts, a mark on Grafana's dashboards, a heartbeat."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

from tasks.core.errors import FedvitalsError
from tasks.core.message import Message, message_of
from tasks.core.ports import Channel
from tasks.core.receipt import DeliveryKind, Receipt
from tasks.runs.base.run import Run

# a mark on a dashboard is worth no longer wait
CHANNEL_RETRY_TIMEOUT = timedelta(seconds=10)


def deliver(run: Run, receipt: Receipt) -> Receipt:
    """Hand the artifacts on, and complete the receipt in the ledger."""
    publish = run.publish
    if publish is not None and run.artifacts:
        _try(run, "artifacts", lambda: publish(run.artifacts))
    return run.complete(receipt)


def deliver_everywhere(run: Run, receipt: Receipt) -> Receipt:
    """Hand the run on to the channels too: an annotation of each run, a heartbeat of each that did
    its work."""
    message = message_of(receipt, datetime.now(UTC))
    service, url = run.environment.grafana, run.settings.heartbeat_url
    if service is not None and service.token is not None:
        from tasks.channels.grafana import GrafanaChannel

        retry_timeout = min(run.settings.pipeline.retry_timeout, CHANNEL_RETRY_TIMEOUT)
        _send(run, "channel", GrafanaChannel(service, retry_timeout), message)
    if url is not None and receipt.did_its_work:
        from tasks.channels.heartbeat import Heartbeat

        _send(run, "heartbeat", Heartbeat(url), message)
    return deliver(run, receipt)


def _send(run: Run, what: DeliveryKind, channel: Channel, message: Message) -> None:
    with closing(channel):
        _try(run, what, lambda: channel.send(message))


def _try(run: Run, what: DeliveryKind, send: Callable[[], object]) -> None:
    try:
        send()
    except FedvitalsError as error:
        run.delivered(what, str(error))
    else:
        run.delivered(what)

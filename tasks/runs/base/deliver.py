"""Deliver a finished run's artifacts, and its message to channels."""

import logging
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

from tasks.core.errors import FedvitalsError, defect
from tasks.core.message import Message, message_of
from tasks.core.ports import ChannelKind, Opening
from tasks.core.receipt import Receipt
from tasks.runs.base.registry import channels_in
from tasks.runs.base.run import Run

logger = logging.getLogger("fedvitals")


def deliver(run: Run, receipt: Receipt) -> Receipt:
    """Send the run's message and artifacts, and complete its receipt."""
    message = message_of(receipt, datetime.now(UTC))
    for kind, opening in channels_in(run.settings, run.environment):
        if kind.wants(receipt):
            _try(run, kind.name, partial(_send, kind, opening, message))
    if run.publish is not None and run.artifacts:
        _try(run, "artifacts", partial(run.publish, run.artifacts))
    return run.complete(receipt)


def _send(kind: ChannelKind, opening: Opening, message: Message) -> None:
    with closing(kind.open(opening)) as channel:
        channel.send(message)


def _try(run: Run, what: str, send: Callable[[], object]) -> None:
    try:
        send()
    except FedvitalsError as error:
        run.delivered(what, str(error))
    # the run is over, and a channel of another package must not take its receipt down
    except Exception as error:
        logger.exception("%s: unexpected error", what)
        run.delivered(what, defect(error))
    else:
        run.delivered(what)

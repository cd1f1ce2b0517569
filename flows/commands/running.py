"""Runs a flow here and now, as the commands do."""

from typing import TYPE_CHECKING, Any, TypeVar

from flows.commands.prefect_server import require_server

if TYPE_CHECKING:
    from prefect import Flow

Answer = TypeVar("Answer")


def run_flow(flow: "Flow[..., Any]", answer: type[Answer], **parameters: object) -> Answer:
    """What the flow answered.

    Raises:
        ConfigurationInvalid: when PREFECT_API_URL names a server that does not answer.
        FedvitalsError: what ended the flow before it had an answer.
    """
    require_server()
    state: Any = flow(**parameters, return_state=True)
    result = state.result(raise_on_failure=False)
    if isinstance(result, answer):
        return result
    raise result if isinstance(result, Exception) else RuntimeError(str(state.message))

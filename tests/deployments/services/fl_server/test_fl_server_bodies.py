"""The bodies: what they write, and that they take nothing else."""

import pytest
from pydantic import ValidationError

from deployments.services.fl_server import bodies


def test_a_dropped_client_is_written_with_nulls() -> None:
    client = bodies.HistoryClient(
        id="client-03", examples=7, accuracy=None, seconds=None, state="dropped", data_quality=1.0
    )
    assert client.model_dump_json() == (
        '{"id":"client-03","examples":7,"accuracy":null,"seconds":null,'
        '"state":"dropped","data_quality":1.0}'
    )


@pytest.mark.parametrize("wrong", [{"active": 1}, {"total": 3, "connected": 2, "activ": 1}])
def test_a_body_with_other_fields_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        bodies.ClientCount.model_validate(wrong)


def test_every_body_refuses_extra_fields() -> None:
    models = bodies.Body.__subclasses__()
    assert models
    assert all(model.model_config["extra"] == "forbid" for model in models)

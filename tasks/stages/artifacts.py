"""A run's artifacts in Prefect."""

import base64
from collections.abc import Iterable
from pathlib import Path

import httpx
from prefect import runtime
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.exceptions import PrefectException

from tasks.core.artifact import MOST_ROWS, Artifact
from tasks.core.errors import ChannelUnavailable

# Prefect stores larger ones, but refuses their event
MOST_IMAGE_BYTES = 48_000


def publish(artifacts: Iterable[Artifact]) -> None:
    """Publish artifacts beside the flow run, if in one; raise ChannelUnavailable."""
    if runtime.flow_run.id is None:
        return
    for artifact in artifacts:
        try:
            _create(artifact)
        except (PrefectException, httpx.HTTPError) as error:
            raise ChannelUnavailable(
                channel="Prefect",
                url=artifact.key,
                problem=f"the artifact was not taken ({type(error).__name__})",
                retry_after=None,
            ) from error


def _create(artifact: Artifact) -> None:
    key, content = artifact.key, artifact.content
    if isinstance(content, Path):
        _create_picture(key, content)
    elif artifact.kind == "link":
        create_link_artifact(str(content), key=key, link_text=artifact.description)
    elif isinstance(content, str):
        create_markdown_artifact(content, key=key)
    elif content:
        rows = list(content[:MOST_ROWS])
        create_table_artifact(rows, key=key, description=artifact.description or None)


def _create_picture(key: str, path: Path) -> None:
    picture = path.read_bytes()
    if len(picture) <= MOST_IMAGE_BYTES:
        data = base64.b64encode(picture).decode()
        create_image_artifact(f"data:image/png;base64,{data}", key=key)

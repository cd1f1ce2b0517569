"""An S3 of our own: moto's server in a process of its own, with one bucket."""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import requests

from tests.support.process import free_port
from tests.support.servers import TIMEOUT, HttpServer

SECRET = "planted-s3-secret-3c1e"


class S3Server(HttpServer):
    """Takes any credentials; with `strict`, none that it did not hand out, which it never does."""

    def __init__(self, home: Path, strict: bool = False) -> None:
        # the Delta library lists a folder under Python's lock, so a thread of ours could not answer
        port = free_port()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        # what it lets through before it looks: our question whether it is up does not count
        env = {"INITIAL_NO_AUTH_ACTION_COUNT": "1"} if strict else {}
        super().__init__("moto", command, home, port, "/moto-api/", env)

    def make_bucket(self, name: str) -> None:
        """Makes an empty bucket."""
        requests.put(f"{self.url}/{name}", timeout=TIMEOUT).raise_for_status()

    def keys(self, bucket: str) -> list[str]:
        """The names of all that is in a bucket of at most 1,000 objects."""
        answer = requests.get(f"{self.url}/{bucket}", {"list-type": "2"}, timeout=TIMEOUT)
        answer.raise_for_status()
        assert "<IsTruncated>true" not in answer.text
        return re.findall(r"<Key>([^<]*)</Key>", answer.text)

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """Takes objects away, as an administrator or a rule of the bucket may."""
        # only who is nobody is refused
        somebody = "AWS4-HMAC-SHA256 Credential=somebody/20260101/us-east-1/s3/aws4_request"
        for key in keys:
            url, headers = f"{self.url}/{bucket}/{quote(key)}", {"Authorization": somebody}
            requests.delete(url, headers=headers, timeout=TIMEOUT).raise_for_status()

    def variables(self, place: str) -> dict[str, str]:
        """What a user would set for a lake on it."""
        return {
            "FEDVITALS_LAKE_URL": f"s3://{place}",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

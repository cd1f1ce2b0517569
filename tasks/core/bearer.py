"""HTTP sessions that send their token to one host only."""

import requests
from requests.auth import AuthBase


class BearerSession(requests.Session):
    """Sends the token and follows no redirect, so that no other host gets it."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.auth = _Bearer(token)
        self.headers["User-Agent"] = "fedvitals"

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return no target: redirects are not followed."""


class _Bearer(AuthBase):
    """Sets the token; without one it still keeps requests from reading ~/.netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

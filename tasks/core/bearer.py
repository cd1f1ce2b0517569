"""HTTP sessions that keep their token to themselves."""

import requests
from requests.auth import AuthBase


class BearerSession(requests.Session):
    """Send the token, and follow no redirect, so that it goes to no other host."""

    def __init__(self, token: str) -> None:
        """Keep the token; it may be empty."""
        super().__init__()
        self.auth = _Bearer(token)
        self.headers["User-Agent"] = "fedvitals"

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Name no target, whatever the answer says."""


class _Bearer(AuthBase):
    """Sets the token. Without one it still keeps requests from taking a login out of ~/.netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

"""Requests that survive a lost connection: the same request again, under the same key, a bounded number of times."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from tallystick.client.exact import dumps, loads

_LATER = frozenset({502, 503, 504})
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


class ApiError(Exception):
    """The server refused, or could not be reached (`status` 0, `code` `unreachable`).

    `code` is stable and meant for programs, `detail` is meant for people. `codes` are those of the parts of the request that
    were refused, where the server says which, else `code` alone.
    """

    def __init__(self, status: int, code: str, detail: str, codes: Sequence[str] = ()) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.codes = tuple(codes) or (code,)


class Transport:
    """Sends requests. A request that may safely be sent again is, at most `attempts` times in all."""

    def __init__(self, base_url: str, api_key: str | None, timeout_s: float, attempts: int) -> None:
        if attempts < 1:
            raise ValueError("at least one attempt is needed")
        headers = {"Accept": "application/json"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=timeout_s)
        self._attempts = attempts

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, parameters: Mapping[str, str | int | None] | None = None) -> Any:
        """The JSON at `path`; parameters that are `None` are not sent."""
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        return self._send(self._http.build_request("GET", path, params=given), again=True)

    def post(self, path: str, body: Any = None, *, key: str | None) -> Any:
        """The answer to `body`. Without a `key`, nothing that may have reached the server is sent again."""
        return self._send(self._request("POST", path, body, key), again=key is not None)

    def patch(self, path: str, body: Any) -> Any:
        """The answer to a change that is the same when it is made twice."""
        return self._send(self._request("PATCH", path, body, None), again=True)

    def put(self, path: str, body: Any) -> Any:
        """The answer to what something is to be from now on."""
        return self._send(self._request("PUT", path, body, None), again=True)

    def _request(self, method: str, path: str, body: Any, key: str | None) -> httpx.Request:
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        content = None if body is None else dumps(body).encode()
        return self._http.build_request(method, path, content=content, headers=headers)

    def _send(self, request: httpx.Request, *, again: bool) -> Any:
        for attempt in range(1, self._attempts + 1):
            last = attempt == self._attempts
            try:
                response = self._http.send(request)
            except httpx.TransportError as error:
                # What never reached the server may be sent again whatever it is.
                if last or not (again or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)):
                    raise ApiError(0, "unreachable", f"the server cannot be reached: {type(error).__name__}") from error
            else:
                if response.is_success:
                    return loads(response.text)
                if last or not again or response.status_code not in _LATER:
                    raise refusal(response)
            time.sleep(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt) * random.uniform(0.5, 1))  # noqa: S311 - jitter
        raise AssertionError("the last attempt returns or raises")


def refusal(response: httpx.Response) -> ApiError:
    """The refusal that an answer is."""
    try:
        problem = loads(response.text)
        codes = [str(error["code"]) for error in problem.get("errors", ())]
        return ApiError(response.status_code, str(problem["code"]), str(problem["detail"]), codes)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ApiError(response.status_code, "unknown", "the answer is no problem document")

"""One signed notice to one address: resolved once, checked, and connected to as checked; nothing is followed or read."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import os
import socket
import ssl
import time
from urllib.parse import urlsplit

import httpx

from tallystick import approvals

_KEPT_S = 60
_SUCCESS = range(200, 300)
_REDIRECT = range(300, 400)


class NotDelivered(Exception):
    """A notice was not taken. `code` says why, without a word of what the other side said."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


async def post(signed: approvals.Signed, body: bytes, settings: approvals.WebhookSettings) -> int:
    """Post a notice, and return the status of the answer, which is one of success; of the answer nothing else is read.

    Raises `NotDelivered`: `url_malformed`, `name_unknown`, `address_not_allowed`, `unreachable`, `tls_failed`, `redirected`,
    `http_STATUS`, and `timeout` where all of it takes longer than the setting says.
    """
    try:
        async with asyncio.timeout(settings.timeout_s):
            return await _post(signed, body, settings)
    except TimeoutError:
        raise NotDelivered("timeout") from None
    except httpx.ConnectError as error:
        raise NotDelivered("tls_failed" if _is_tls(error) else "unreachable") from None
    except httpx.InvalidURL:
        raise NotDelivered("url_malformed") from None
    except (httpx.HTTPError, OSError):
        raise NotDelivered("unreachable") from None


async def _post(signed: approvals.Signed, body: bytes, settings: approvals.WebhookSettings) -> int:
    url = httpx.URL(signed.url)
    name = urlsplit(signed.url).hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    address = await _address(name, port, settings)
    headers = {
        "Host": url.netloc.decode(),
        "Content-Type": "application/json",
        "User-Agent": "tallystick",
        "Tallystick-Signature": f"t={signed.at},v1={signed.signature}",
    }
    # The connection goes to the address that was checked, whatever the name stands for by now; the certificate is of the name.
    request = httpx.Request(
        "POST", url.copy_with(host=address, port=port), headers=headers, content=body, extensions={"sni_hostname": name}
    )
    trusted = _authorities(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"), int(time.monotonic() // _KEPT_S))
    async with httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=settings.timeout_s, verify=trusted) as client:
        response = await client.send(request, stream=True)
        await response.aclose()
    if response.status_code in _REDIRECT:
        raise NotDelivered("redirected")
    if response.status_code not in _SUCCESS:
        raise NotDelivered(f"http_{response.status_code}")
    return response.status_code


@functools.lru_cache(maxsize=1)
def _authorities(file: str | None, folder: str | None, _: int) -> ssl.SSLContext:
    """Whom certificates are trusted by: the authorities of the system, so that a bank's own one may be among them.

    Reading them takes longer than a delivery, so they are kept for a minute.
    """
    return ssl.create_default_context(cafile=file, capath=folder)


async def _address(name: str, port: int, settings: approvals.WebhookSettings) -> str:
    """The address that a name stands for at this moment. Where one of several is not allowed, none is: a name that is pointed
    at the inside is not to be trusted."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotDelivered("name_unknown") from None
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    if not addresses:
        raise NotDelivered("name_unknown")
    for address in addresses:
        if "%" in address or not settings.allows(ipaddress.ip_address(address)):
            raise NotDelivered("address_not_allowed")
    return addresses[0]


def _is_tls(error: BaseException | None) -> bool:
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, ssl.SSLError):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False

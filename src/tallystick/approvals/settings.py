"""What can be set about notices."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_TEREDO = ipaddress.IPv6Network("2001::/32")


class WebhookSettings(BaseSettings):
    """Notices go to public addresses by https. `allow` are networks that they may go to, too; `plain_http` lets http pass."""

    model_config = SettingsConfigDict(env_prefix="TALLYSTICK_WEBHOOKS_", env_file=".env", extra="ignore", frozen=True)

    allow: Annotated[tuple[Network, ...], NoDecode] = ()
    plain_http: bool = False
    timeout_s: float = Field(default=10, gt=0, le=40)

    @field_validator("allow", mode="before")
    @classmethod
    def _listed(cls, text: Any) -> Any:
        return [each.strip() for each in text.split(",") if each.strip()] if isinstance(text, str) else text

    def allows(self, address: Address) -> bool:
        """Whether notices may go to this address: it is public, or in one of the networks that are allowed."""
        inner = _inner(address)
        return any(inner in network or address in network for network in self.allow) or (_public(address) and _public(inner))


def _public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address only wraps; any other address as it is."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _TEREDO and address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address

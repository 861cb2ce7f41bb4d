"""What can be set about the HTTP surface."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class HttpSettings(BaseSettings):
    """`API_KEY` is a bootstrap key that works without being stored; `open` lets everybody in and is for the demo alone."""

    model_config = SettingsConfigDict(env_prefix="TALLYSTICK_HTTP_", env_file=".env", extra="ignore", populate_by_name=True)

    api_key: SecretStr | None = Field(default=None, validation_alias="API_KEY")
    open: bool = False
    max_body_bytes: int = Field(default=1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    request_timeout_s: float = Field(default=30, gt=0, le=600)
    max_waiting_claims: int = Field(default=500, ge=1, le=1900)
    max_streams: int = Field(default=3, ge=1, le=100)
    key_cache_s: float = Field(default=3, ge=0, le=60)
    rate_per_s: float = Field(default=0, ge=0, le=1_000_000)
    rate_burst: int = Field(default=0, ge=0, le=1_000_000)
    daily_quota: int = Field(default=0, ge=0, le=10**12)
    public_url: str | None = None
    sign_in_issuer: str | None = None
    sign_in_client_id: str | None = None
    sign_in_client_secret: SecretStr | None = None
    sign_in_roles_claim: str | None = None
    sign_in_roles: dict[str, list[str]] = Field(default_factory=dict)
    session_s: int = Field(default=8 * 3600, ge=60, le=30 * 86_400)
    token_issuers: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sign_in_is_whole(self) -> HttpSettings:
        if self.sign_in_issuer is None:
            return self
        if self.sign_in_client_id is None or self.public_url is None:
            raise ValueError("to sign in, sign_in_client_id and public_url are needed beside sign_in_issuer")
        for url in (self.sign_in_issuer, self.public_url):
            if not is_safe_url(url):
                raise ValueError("sign_in_issuer and public_url begin with https://, but on loopback")
        return self

    @model_validator(mode="after")
    def _issuers_are_safe(self) -> HttpSettings:
        if not all(map(is_safe_url, self.token_issuers)):
            raise ValueError("token_issuers begin with https://, but on loopback")
        return self


def is_safe_url(url: str) -> bool:
    """Whether what goes there cannot be read on the way: it is https, or stays on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    if parts.scheme != "http" or parts.hostname is None:
        return False
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return parts.hostname == "localhost"

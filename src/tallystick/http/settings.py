"""What can be set about the HTTP surface."""

from __future__ import annotations

from pydantic import Field, SecretStr
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

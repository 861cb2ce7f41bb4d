"""Where the database is: from the environment, or the embedded server under the data folder."""

from __future__ import annotations

from pathlib import Path

import platformdirs
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class DatabaseSettings(BaseSettings):
    """`DATABASE_URL` is the application's login, `TALLYSTICK_OWNER_URL` migrates, `TALLYSTICK_SEALER_URL` seals the record.

    Each falls back to the one before it. The record's signing keys are in `signing_keys`, or else in the data folder.
    No `DATABASE_URL` means the embedded server under `data`. Times are in seconds or milliseconds as their names say.
    """

    model_config = SettingsConfigDict(env_prefix="TALLYSTICK_", env_file=".env", extra="ignore", populate_by_name=True)

    database_url: str | None = Field(default=None, validation_alias="DATABASE_URL")
    owner_url: str | None = None
    sealer_url: str | None = None
    signing_keys: Path | None = None
    data: Path = Field(default_factory=lambda: platformdirs.user_data_path("tallystick"))
    pool_max_size: int = Field(default=10, ge=1, le=200)
    pool_wait_s: float = Field(default=5.0, gt=0, le=60)
    statement_timeout_ms: int = Field(default=30_000, ge=100, le=600_000)
    lock_timeout_ms: int = Field(default=5_000, ge=10, le=60_000)
    idle_in_transaction_timeout_ms: int = Field(default=10_000, ge=100, le=600_000)
    max_sealing_lag_s: float = Field(default=30.0, gt=0, le=86_400)

    @field_validator("database_url", "owner_url", "sealer_url")
    @classmethod
    def _plain_scheme(cls, url: str | None) -> str | None:
        # The guides write the URL as SQLAlchemy does; libpq does not know the driver's name in it.
        plain = url.replace("postgresql+psycopg://", "postgresql://", 1) if url else None
        try:
            conninfo_to_dict(plain or "")
        except ProgrammingError:
            raise ValueError("this is not a PostgreSQL connection string") from None
        return plain

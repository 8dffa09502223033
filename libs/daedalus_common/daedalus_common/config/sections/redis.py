"""`redis`: the server or cluster that holds the streams."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, SecretStr

from daedalus_common.config.sections.base import FilePath, RedisUrl, Section, duration


class RedisSettings(Section):
    """Redis >= 7.0 or Valkey >= 8; in a cluster `url` names any node.

    `password` holds the password wherever it came from.
    """

    url: RedisUrl = "redis://127.0.0.1:6379/0"
    cluster: bool = False
    username: str | None = None
    password: SecretStr = SecretStr("")
    password_file: FilePath | None = None
    socket_timeout_seconds: Annotated[float, Field(ge=0.1, le=300)] = 5.0

    @property
    def socket_timeout(self) -> timedelta:
        return duration(self.socket_timeout_seconds)

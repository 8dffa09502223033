"""Log lines on stderr: one format for our code and the libraries', no secrets."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daedalus_common.config.masking import is_secret_key, mask_secrets, mask_url

SETUP = """
import logging, sys, warnings
import structlog
from daedalus_common.telemetry import configure_logging
configure_logging({level!r}, {format!r}, service="writer", name="writer-1")
log = structlog.get_logger()
"""


def stderr_of(code: str, *, level: str = "INFO", format: str = "json") -> str:
    script = SETUP.format(level=level, format=format) + code
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""
    return done.stderr


def lines_of(code: str, **options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr_of(code, **options).splitlines()]


def test_a_line_says_when_who_and_what() -> None:
    (line,) = lines_of("log.info('flushed', rows=3)")
    timestamp = datetime.fromisoformat(line.pop("timestamp"))
    assert abs(datetime.now(UTC) - timestamp) < timedelta(minutes=1)
    assert line == {"service": "writer", "replica": "writer-1", "level": "info", "event": "flushed", "rows": 3}


def test_libraries_lines_take_the_same_form() -> None:
    (line,) = lines_of("logging.getLogger('redis').warning('lost %s', 'connection')")
    assert (line["event"], line["level"], line["logger"]) == ("lost connection", "warning", "redis")
    assert (line["service"], line["replica"]) == ("writer", "writer-1")


def test_the_level_holds_for_our_lines_and_for_libraries() -> None:
    code = "log.info('a'); log.error('b'); logging.getLogger('x').info('c'); logging.getLogger('x').error('d')"
    assert [line["event"] for line in lines_of(code, level="ERROR")] == ["b", "d"]


def test_chatty_libraries_stay_silent_below_warning() -> None:
    code = "logging.getLogger('botocore.hooks').info('a'); logging.getLogger('botocore').warning('b')"
    assert [line["event"] for line in lines_of(code, level="DEBUG")] == ["b"]


def test_python_warnings_are_log_lines() -> None:
    (line,) = lines_of("warnings.warn('careful')")
    assert line["logger"] == "py.warnings"
    assert "careful" in line["event"]


RAISE = """
def connect(password):
    raise RuntimeError("cannot reach redis://me:hunter2@cache")
try:
    connect("hunter2")
except RuntimeError:
    {call}
"""


@pytest.mark.parametrize("call", ["log.exception('failed')", "logging.getLogger('x').exception('failed')"])
def test_exceptions_are_structured_and_hide_locals(call: str) -> None:
    text = stderr_of(RAISE.format(call=call))
    (exception,) = json.loads(text)["exception"]
    assert (exception["exc_type"], exception["exc_value"]) == (
        "RuntimeError",
        "cannot reach redis://me:***@cache",
    )
    assert exception["frames"][-1]["name"] == "connect"
    assert "hunter2" not in text


@pytest.mark.parametrize("call", ["log.exception('failed')", "logging.getLogger('x').exception('failed')"])
def test_tracebacks_on_a_console_hide_secrets_too(call: str) -> None:
    text = stderr_of(RAISE.format(call=call), format="console")
    assert "Traceback (most recent call last)" in text
    assert "RuntimeError: cannot reach redis://me:***@cache" in text
    assert "hunter2" not in text.replace('connect("hunter2")', "")


def test_console_lines_are_readable_and_without_colours_where_nobody_looks() -> None:
    text = stderr_of("log.info('flushed', rows=3)", format="console")
    assert "flushed" in text
    assert "rows=3" in text
    assert "\x1b[" not in text


def test_secrets_are_masked_by_key_and_in_urls() -> None:
    code = (
        "log.info('to redis://:hunter2@cache', api_secret='hunter2', nested={'s3': [{'secret_key': 'hunter2'}]}, "
        "url='https://u:hunter2@host/a?signature=hunter2&b=1', password='', password_file='/run/secrets/redis')"
    )
    (line,) = lines_of(code)
    assert line["event"] == "to redis://:***@cache"
    assert line["api_secret"] == "***"
    assert line["nested"] == {"s3": [{"secret_key": "***"}]}
    assert line["url"] == "https://u:***@host/a?signature=***&b=1"
    assert (line["password"], line["password_file"]) == ("", "/run/secrets/redis")


def test_a_url_inside_an_objects_text_is_masked() -> None:
    assert lines_of("log.info('x', error=ValueError('at redis://:hunter2@cache'))")[0]["error"] == (
        "ValueError('at redis://:***@cache')"
    )


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://me@cache:6379", "redis://me@cache:6379"),
        ("redis://:p@ss/w:rd@cache:6379/0", "redis://:***@cache:6379/0"),
        ("two: redis://a:b@c and s3://d:e@f.", "two: redis://a:***@c and s3://d:***@f."),
        ("http://h/x?apiKey=1&n=2", "http://h/x?apiKey=***&n=2"),
        ("mail me@example.org at 12:30", "mail me@example.org at 12:30"),
    ],
)
def test_only_the_secret_part_of_a_url_is_masked(text: str, masked: str) -> None:
    assert mask_url(text) == masked


def test_keys_that_name_a_secret_are_recognised() -> None:
    assert all(is_secret_key(key) for key in ("api_key", "apiKey", "secret", "REDIS_PASSWORD", "access_key", "apikey"))
    assert not any(is_secret_key(key) for key in ("key", "symbol", "keyspace", "password_file", "url"))
    assert mask_secrets({"password": None, "a": ("b", {"secret": 1})}) == {
        "password": None,
        "a": ["b", {"secret": "***"}],
    }

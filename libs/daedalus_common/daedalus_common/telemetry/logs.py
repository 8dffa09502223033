"""Structured logs on stderr, from our code and from libraries, with secrets masked."""

import logging
import sys
from typing import Literal

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from daedalus_common.config.masking import mask_secrets, mask_url

LogFormat = Literal["console", "json"]

# These tell every connection and retry at INFO or DEBUG; their warnings and errors stay.
_CHATTY_LIBRARIES = ("asyncio", "boto3", "botocore", "ccxt", "s3transfer", "urllib3")


def configure_logging(level: str, format: LogFormat, *, service: str, name: str | None = None) -> None:
    """Routes structlog and the standard library's logging to stderr; call it once, before the first log line.

    `level` is DEBUG, INFO, WARNING, ERROR or CRITICAL. Every line carries an ISO timestamp in UTC, the level,
    `service` and, where given, the replica's `name`. Values of keys that name a secret and credentials in URLs are
    masked, tracebacks included; tracebacks never show local variables, for these may hold secrets too.
    """
    identity = {"service": service} | ({"replica": name} if name else {})

    def identify(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**identity, **event}

    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        identify,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *common,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(format)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for library in _CHATTY_LIBRARIES:
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)


def _rendering(format: LogFormat) -> list[Processor]:
    if format == "json":
        transformer = ExceptionDictTransformer(show_locals=False)
        return [
            structlog.processors.ExceptionRenderer(transformer),
            _mask_values,
            structlog.processors.JSONRenderer(),
            _mask_line,
        ]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    return [_mask_values, console, _mask_line]


def _mask_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    masked: EventDict = mask_secrets({key: value for key, value in event.items() if key != "exc_info"})
    if "exc_info" in event:
        masked["exc_info"] = event["exc_info"]
    return masked


def _mask_line(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    # After rendering, when `line` is text: so that a URL inside an object's repr or a traceback is caught as well.
    return mask_url(str(line))

"""Whether the machine's clock can be believed: every event is stamped by it."""

from daedalus.doctor.findings import Finding, info, ok, warning
from daedalus.doctor.kernel import Clock

_SUBJECT = "clock"
_NTP = "sudo timedatectl set-ntp true (systemd-timesyncd), or install chrony"


def judge_clock(clock: Clock, has_rtc: bool) -> list[Finding]:
    """A host without a clock that runs on a battery starts with an old time."""
    found = [_judge_sync(clock)]
    if not has_rtc:
        found.append(
            info(
                _SUBJECT, "no battery-backed clock: after a power cut the time is old until NTP sets it",
                "sudo systemctl enable systemd-time-wait-sync, so that daedalus.service waits for it",
            )
        )  # fmt: skip
    return found


def _judge_sync(clock: Clock) -> Finding:
    if clock.synchronized is None:
        return info(_SUBJECT, "cannot be asked whether it is kept by NTP", "make sure that it is")
    if not clock.synchronized:
        return warning(
            _SUBJECT, "not kept by NTP: capture times drift, and from 5 s ahead of the server's they are replaced", _NTP
        )
    error = "" if clock.error_seconds is None else f", within {clock.error_seconds * 1000:.0f} ms"
    return ok(_SUBJECT, f"kept by NTP{error}")

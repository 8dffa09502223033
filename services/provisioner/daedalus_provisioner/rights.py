"""What each service may do in the bucket, as IAM policies."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

# By which the stores of Daedalus try out a server when they start; removed at once.
_PROBE = ".daedalus-probe-*"

_READ = ("s3:GetObject",)
_CREATE = ("s3:GetObject", "s3:PutObject")
_MERGE = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")

ROLES: Mapping[str, Sequence[str]] = MappingProxyType({"writer": _CREATE, "compactor": _MERGE, "reader": _READ})
"""Role -> actions on the objects. The writer creates and never deletes; a reader only reads."""


def policy(role: str, bucket: str) -> dict[str, Any]:
    """The IAM policy of one role. Raises KeyError for a name that is no role."""
    objects = f"arn:aws:s3:::{bucket}/*"
    statements = [
        _allow(("s3:ListBucket", "s3:GetBucketLocation"), f"arn:aws:s3:::{bucket}"),
        _allow(ROLES[role], objects),
    ]
    if "s3:PutObject" in ROLES[role] and "s3:DeleteObject" not in ROLES[role]:
        statements.append(_allow(("s3:DeleteObject",), f"arn:aws:s3:::{bucket}/{_PROBE}"))
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(actions: Sequence[str], resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": [resource]}

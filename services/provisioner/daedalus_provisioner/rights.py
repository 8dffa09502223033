"""What each service may do in the bucket, as IAM policies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

# By which the stores of Daedalus try out a server when they start; removed at once.
_PROBE = ".daedalus-probe-*"
_ALL = ("*",)
# What is merged: secrets.sh says the same to SeaweedFS.
_MERGED = ("bronze/*", "silver/*", "gold/*", "quality/*")


@dataclass(frozen=True, slots=True)
class Right:
    """These actions on the objects with these names."""

    actions: Sequence[str]
    names: Sequence[str]


ROLES: Mapping[str, Sequence[Right]] = MappingProxyType(
    {
        "writer": (Right(("s3:GetObject", "s3:PutObject"), _ALL), Right(("s3:DeleteObject",), (_PROBE,))),
        "compactor": (Right(("s3:GetObject", "s3:PutObject", "s3:DeleteObject"), (*_MERGED, _PROBE)),),
        "reader": (Right(("s3:GetObject",), _ALL),),
    }
)
"""The writer creates and never deletes, the compactor reaches nothing but what it merges, a reader only reads."""


def policy(role: str, bucket: str) -> dict[str, Any]:
    """The IAM policy of one role. Raises KeyError for a name that is no role."""
    name = f"arn:aws:s3:::{bucket}"
    statements = [
        _allow(("s3:ListBucket", "s3:GetBucketLocation"), [name]),
        *(_allow(right.actions, [f"{name}/{each}" for each in right.names]) for right in ROLES[role]),
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(actions: Sequence[str], resources: Sequence[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}

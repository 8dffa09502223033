"""Puts objects into a bucket and reads them back, through the store that the writer has.

    s3_objects.py ENDPOINT BUCKET PREFIX

Runs in the emulated machine; the server runs on this one, its keys come in AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY.
"""

import hashlib
import sys

import boto3

from daedalus_common.stores import CreateResult, StoreSettings, open_store

SIZES_BYTES = (1, 70_000, 3_000_000)


def main(endpoint: str, bucket: str, prefix: str) -> int:
    settings = StoreSettings("s3", bucket=bucket, prefix=prefix, endpoint_url=endpoint, path_style=True)
    store = open_store(settings)
    store.probe()
    for size in SIZES_BYTES:
        data = hashlib.shake_128(str(size).encode()).digest(size)
        key = f"size={size}/object"
        results = [store.create(key, data, {"rows": "1"}), store.create(key, b"another", {"rows": "1"})]
        if results != [CreateResult.CREATED, CreateResult.EXISTS] or store.read(key) != data:
            print(f"{key}: {results}, or it was not read as written", file=sys.stderr)
            return 1
    print(f"{len(SIZES_BYTES)} objects, {sum(SIZES_BYTES)} bytes, boto3 {boto3.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Makes the buckets that are named, where they are not there yet; the AWS_* variables say at which store."""

# ruff: noqa: INP001 (a script of the image, run by its path)

import sys

import boto3

s3 = boto3.client("s3")
there = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
for name in sys.argv[1:]:
    if name not in there:
        s3.create_bucket(Bucket=name)
    print(f"Bucket {name}: {'was there' if name in there else 'made'}.")  # noqa: T201

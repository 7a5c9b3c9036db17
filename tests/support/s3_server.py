"""A server of S3 for tests, by moto, in a thread of this process: other processes reach it by HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}


class Store:
    """One server, and what tests put there and look at."""

    def __init__(self, port: int) -> None:
        import boto3

        self.query = f"?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def url(self, path: str) -> str:
        return f"s3://{path}{self.query}"

    def bucket(self, name: str, folder: Path | None = None) -> None:
        """Makes a bucket that holds the files of a folder."""
        self.client.create_bucket(Bucket=name)
        if folder is None:
            return
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.client.put_object(Bucket=name, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Key -> content, below a prefix that keys lose."""
        found = self.client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        return {
            each["Key"].removeprefix(prefix): self.client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
            for each in found
        }


@contextmanager
def s3_server() -> Iterator[Store]:
    """A running server. Credentials are in the environment meanwhile: for this process, and those that it starts."""
    from moto.server import ThreadedMotoServer

    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ |= CREDENTIALS
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield Store(server.get_host_and_port()[1])
    finally:
        server.stop()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

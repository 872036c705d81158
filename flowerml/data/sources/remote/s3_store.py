"""Objects in S3 and what speaks its protocol, by s3fs, with the credentials that boto3 finds."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flowerml.data.sources.remote.store import (
    Forbidden,
    Interrupted,
    NotThere,
    ObjectVersion,
    require_part,
    require_whole,
)
from flowerml.errors import UserError

_CREDENTIALS = (
    "Give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile (AWS_PROFILE, ~/.aws); for a public bucket"
    " FSSPEC_S3_ANON=true"
)


class S3Store:
    """The objects of all buckets that the credentials of the environment open."""

    def __init__(self) -> None:
        """Raise UserError where s3fs is not installed."""
        try:
            import fsspec
            import s3fs  # noqa: F401 - what fsspec imports
        except ImportError as error:
            raise UserError('an address s3://… needs s3fs: pip install "flowerml[s3]"') from error
        logging.getLogger("s3fs").setLevel(logging.ERROR)
        self._files: Any = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)

    def list_folder(self, address: str) -> Mapping[str, ObjectVersion]:
        """As `Store.list_folder`."""
        with _errors_in_one_line(address):
            found = self._files.find(address, withdirs=False, detail=True)
        prefix = address.removeprefix("s3://").rstrip("/") + "/"
        listed = {name.removeprefix(prefix): _version(info) for name, info in found.items() if name.startswith(prefix)}
        listed = {name: version for name, version in listed.items() if name and not name.endswith("/")}
        if not listed:
            raise NotThere(f"{address}: no objects there. Name a folder of a bucket, or a .csv, .tar or .parquet in it")
        return listed

    def stat(self, address: str) -> ObjectVersion:
        """As `Store.stat`."""
        with _errors_in_one_line(address):
            info = self._files.info(address, refresh=True)
        if info.get("type") != "file":
            raise NotThere(f"{address}: not there, or a folder. Name an object")
        return _version(info)

    def fetch(self, address: str, target: Path, expected: ObjectVersion) -> None:
        """As `Store.fetch`."""
        with _errors_in_one_line(address):
            self._files.get_file(address, str(target))
        require_whole(address, target.stat().st_size, expected.size)

    def read_part(self, address: str, offset: int, size: int, expected: ObjectVersion) -> bytes:
        """As `Store.read_part`."""
        from fsspec.asyn import sync

        bucket, key, _ = self._files.split_path(address)
        wanted = f"bytes={offset}-{offset + size - 1}"

        async def read_body(answer: Any) -> bytes:  # noqa: ANN401 - aiobotocore has no types
            async with answer["Body"] as body:
                require_part(address, answer.get("ContentRange"), answer.get("ETag"), offset, size, expected)
                data: bytes = await body.read()
                return data

        with _errors_in_one_line(address):
            data: bytes = sync(
                self._files.loop, read_body, self._files.call_s3("get_object", Bucket=bucket, Key=key, Range=wanted)
            )
        if len(data) != size:
            raise Interrupted(f"{address} can't be read (the connection was closed). Try again later")
        return data


def _version(info: Mapping[str, Any]) -> ObjectVersion:
    tag = info.get("ETag") or info.get("LastModified")
    return ObjectVersion(int(info["size"]), None if tag is None else str(tag))


@contextmanager
def _errors_in_one_line(address: str) -> Iterator[None]:
    """What s3fs and botocore raise, as UserError."""
    from aiohttp import ClientError as ConnectionBroken
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        yield
    except FileNotFoundError as error:
        raise NotThere(f"{address}: not there (no such bucket or object). Name another address") from error
    except PermissionError as error:
        raise Forbidden(f"{address}: access denied ({_reason(error)}). {_CREDENTIALS}") from error
    except NoCredentialsError as error:
        raise UserError(f"{address}: no credentials for S3. {_CREDENTIALS}") from error
    except (BotoCoreError, ClientError, ConnectionBroken, OSError, TimeoutError, json.JSONDecodeError) as error:
        raise Interrupted(
            f"{address} can't be read ({_reason(error)}). Try again later, or name another address"
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

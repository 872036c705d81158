"""Passwords are in no text that is shown, logged or recorded, in whatever form an address or a library has them."""

import logging
import subprocess
import sys

import pytest

from flowerml.errors import UserError
from flowerml.events import Ended, Params, Status, Tags
from flowerml.log import LineFormatter
from flowerml.redaction import redact_secrets

SECRET = "s3cr3t"
HIDDEN = [
    "postgresql+psycopg2://u@h:5432/db?password=s3cr3t",
    "postgresql+psycopg2://u@h/db?sslmode=require&sslpassword=s3cr3t&x=1",
    "postgresql://u:s3cr3t@h/db",
    "mysql+pymysql://u:a/s3cr3t@h/db?charset=utf8",
    "postgresql://u:s3cr3t%40x%23@h/db",
    "https://s3cr3t@h/x.git",
    "https://h/x?token=s3cr3t",
    "https://h/x?a=1&access_token=s3cr3t#part",
    "https://h/x?X-Amz-Credential=s3cr3t&X-Amz-Signature=s3cr3t",
    "https://h/x?sv=1&sig=s3cr3t",
    "s3://b/k?access_key=s3cr3t&secret_access_key=s3cr3t",
    "https://h/x?AWSAccessKeyId=s3cr3t&api_key=s3cr3t;pwd=s3cr3t",
    "host=h user=u password=s3cr3t dbname=d",
    "host=h password='my s3cr3t' dbname=d",
    "connect(**{'host': 'h', 'password': 's3cr3t', 'db': 'd'})",
    '{"aws_secret_access_key": "s3cr3t"}',
    "Authorization: Bearer s3cr3t",
    "headers: {'Authorization': 'Basic s3cr3t=='}",
]
SHOWN = [
    "postgresql+psycopg2://h:5432/db?sslmode=require",
    "sqlite:////srv/a@b.db",
    "http://h:5000/a@b",
    "FATAL: password authentication failed for user u",
    "--token-dropout is 2. Allowed: 0 to 1",
    "weight_decay=0.05, tokens=77, key=3, bypass=1",
    "models:/flowers-cnn@champion",
    "5 photos @ 224 px: rose/a.jpg?",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_a_secret_is_masked_and_the_rest_can_be_read(text):
    shown = redact_secrets(f"before {text} after")
    assert SECRET not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


@pytest.mark.parametrize("text", SHOWN)
def test_what_is_no_secret_stays(text):
    assert redact_secrets(text) == text


@pytest.mark.parametrize(
    ("address", "quoted"),
    [
        ("postgresql://u:s3cr3t/more@h/db", "invalid literal for int() with base 10: 's3cr3t'"),
        ("postgresql://u:a s3cr3t b@h/db", "could not parse 'postgresql://u:a s3cr3t b@h/db'"),
        ("postgresql://u:%73%33cr3t@h/db", "invalid dsn: s3cr3t"),
        ("postgresql://h/db?password=my s3cr3t", 'missing "=" after "s3cr3t"'),
    ],
)
def test_parts_that_a_library_quotes_are_masked_too(address, quoted):
    assert SECRET not in redact_secrets(f"{address}: {quoted}", address)


def test_every_door_masks():
    """Error messages and their entries, log lines with tracebacks, events."""
    address = HIDDEN[0]
    assert SECRET not in str(UserError(f"{address} is away", [address]))
    try:
        raise ValueError(address)
    except ValueError:
        record = logging.LogRecord("flowerml", logging.DEBUG, "", 0, "%s", (address,), sys.exc_info())
    line = LineFormatter().format(record)
    assert "ValueError: postgresql+psycopg2://***@h:5432/db?password=***" in line
    assert SECRET not in line
    for values in (Params({"storage": address}).values, Tags({"note": address}).values):
        assert SECRET not in str(values)
    assert SECRET not in Ended(Status.FAILED, f"OperationalError: {address}").reason


def test_the_traceback_of_an_unexpected_error_masks():
    code = (
        "import sys; from flowerml.log import print_traceback; sys.excepthook = print_traceback;"
        f" raise RuntimeError('{HIDDEN[0]}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "RuntimeError: postgresql+psycopg2://***@h" in done.stderr.splitlines()[-1]

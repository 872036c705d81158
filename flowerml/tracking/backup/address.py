"""From a store's address to its database."""

from mlflow.utils.uri import get_uri_scheme
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from flowerml.errors import UserError
from flowerml.redaction import redact_secrets
from flowerml.tracking.backup.database import Database
from flowerml.tracking.backup.postgres import PostgresDatabase
from flowerml.tracking.backup.sqlite import SqliteDatabase
from flowerml.tracking.client.connection import database_file

EXAMPLES = {"sqlite": "sqlite:///FILE.db", "postgresql": "postgresql+psycopg2://USER@HOST/DATABASE"}
ALLOWED = ", ".join(EXAMPLES.values())


def open_database(address: str) -> Database:
    """The database of the store `address`; nothing is connected. Raises UserError for a store of another kind."""
    scheme, file = get_uri_scheme(address), database_file(address)
    if file is not None:
        return SqliteDatabase(file)
    shown = redact_secrets(address, address)
    if scheme in ("http", "https"):
        raise UserError(f"--store {shown} is a server: name its database, where it runs. Allowed: {ALLOWED}")
    if scheme != "postgresql":
        raise UserError(f"--store {shown} is no database that can be backed up here. Allowed: {ALLOWED}")
    try:
        url = make_url(address)
        # Without a driver's name SQLAlchemy takes another one than MLflow's images and our extra `server` have.
        return PostgresDatabase(url.set(drivername="postgresql+psycopg2") if url.drivername == "postgresql" else url)
    except (ArgumentError, ValueError) as error:
        raise UserError(f"--store {shown} can't be read as an address. Allowed: {ALLOWED}") from error

"""Databases on the Postgres of `tests.tracking.compose_server`: made for one test, and away for a while."""

from contextlib import contextmanager

from sqlalchemy import create_engine, make_url, text


@contextmanager
def administrator(address):
    """A connection to the server that no transaction is opened for."""
    engine = create_engine(make_url(address).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as asking:
        yield asking
    engine.dispose()


def new_database(port, name):
    """Create an empty database. Returns its address; clients take the password from PGPASSWORD."""
    address = f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/{name}"
    with administrator(address) as asking:
        asking.execute(text(f"CREATE DATABASE {name}"))
    return address


@contextmanager
def away(address):
    """Connections to the database are cut and new ones refused, as while its server restarts. Yields how many."""
    name = make_url(address).database
    with administrator(address) as asking:
        asking.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        try:
            cut = asking.execute(
                text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            )
            yield len(cut.all())
        finally:
            asking.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))

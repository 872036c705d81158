"""The table from what is broken about a tracking store to words: a pattern of an error's texts, problem and remedy."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.utils.uri import get_uri_scheme

ALLOWED_STORES = "http://HOST:PORT, https://HOST, sqlite:///FILE.db, postgresql+psycopg2://USER@HOST/DATABASE"
OTHER_STORE = "set MLFLOW_TRACKING_URI to another store"


class Kind(StrEnum):
    """What is broken."""

    AWAY = "away"
    HOST_NAME = "host name"
    PROXY = "proxy"
    CERTIFICATE = "certificate"
    CERTIFICATE_FILE = "certificate file"
    NO_TLS = "no TLS"
    LOGIN = "login"
    FORBIDDEN = "forbidden"
    NO_MLFLOW = "no MLflow server"
    SERVER_ERROR = "server error"
    LOCKED = "locked"
    NO_DATABASE = "no database"
    DAMAGED = "damaged"
    NOT_WRITABLE = "not writable"
    NOT_OPENED = "can't be opened"
    DISK = "disk"
    SCHEMA = "schema"
    ARTIFACT_STORE = "artifact store"
    ADDRESS = "address"
    PACKAGE = "package"
    ENVIRONMENT = "environment"
    REFUSED = "refused"


@dataclass(frozen=True)
class Row:
    """A cause: the pattern of an error's texts, and what to say of it; `{}` is the short reason."""

    kind: Kind
    pattern: str
    problem: str
    remedy: str
    is_permanent: bool = True


# The first row that fits counts. Above: what comes between this process and the server.
_NETWORK = (
    Row(
        Kind.CERTIFICATE_FILE,
        r"suitable TLS CA certificate bundle|\[X509|NO_CERTIFICATE_OR_CRL_FOUND|PEM lib",
        "can't be asked: the file of certificates can't be used ({})",
        "mend MLFLOW_TRACKING_SERVER_CERT_PATH, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE",
    ),
    Row(
        Kind.CERTIFICATE,
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|doesn't match either of|CertificateError",
        "has a certificate that is not trusted here ({})",
        "name the file of its certificate authority in MLFLOW_TRACKING_SERVER_CERT_PATH, or mend the certificate",
    ),
    Row(
        Kind.PROXY,
        r"ProxyError|[Cc]annot connect to proxy|Unable to connect to proxy|Tunnel connection failed|InvalidProxyURL",
        "can't be reached through the proxy ({})",
        "mend HTTPS_PROXY or HTTP_PROXY, or name the server in NO_PROXY",
        is_permanent=False,
    ),
    Row(
        Kind.NO_TLS,
        r"WRONG_VERSION_NUMBER|record layer failure|\[SSL: |SSLError|SSLEOFError|server does not support SSL",
        "does not speak TLS as asked ({})",
        "write http:// for a server without a certificate, or look at its log",
    ),
    Row(
        Kind.HOST_NAME,
        r"NameResolutionError|Name or service not known|name resolution|No address associated|nodename nor servname"
        r"|could not translate host name|Unknown MySQL server host|getaddrinfo failed",
        "has a host name that is not known ({})",
        "check the name in MLFLOW_TRACKING_URI, and the network",
        is_permanent=False,
    ),
    Row(
        Kind.ADDRESS,
        r"Invalid URL|InvalidURL|Failed to parse: |LocationParseError|nonnumeric port|Could not parse SQLAlchemy URL",
        "has an address that can't be used ({})",
        f"allowed are {ALLOWED_STORES}",
    ),
)
_WORKSPACE = Row(
    Kind.ENVIRONMENT,
    r"[Ww]orkspace is required|workspaces? (is|are) (not |disabled)|set_workspace",
    "wants a workspace ({})",
    "set MLFLOW_WORKSPACE, or unset MLFLOW_ENABLE_WORKSPACES",
)
_HTTP = (
    _WORKSPACE,
    Row(
        Kind.LOGIN,
        r"error code 401|\b401 Client Error|UNAUTHENTICATED|CUSTOMER_UNAUTHORIZED|password authentication failed"
        r"|no password supplied|role \"[^\"]*\" does not exist|Access denied for user",
        "wants a login, or another one ({})",
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (a database: in its address)",
    ),
    Row(
        Kind.FORBIDDEN,
        r"error code 403|\b403 Client Error|PERMISSION_DENIED|no pg_hba.conf entry|permission denied for",
        "refuses ({})",
        "ask who runs it for access to the experiment, and to allow this host name (mlflow server --allowed-hosts)",
    ),
    Row(
        Kind.NO_MLFLOW,
        r"error code (404|405|3\d\d) != 200|not in a valid JSON format",
        "is no MLflow server ({})",
        "set MLFLOW_TRACKING_URI to the address of one, with its path if it has one",
    ),
    Row(
        Kind.SERVER_ERROR,
        r"too many \d{3} error responses|error code (429|5\d\d)|\b(429|5\d\d) (Client|Server) Error",
        "answers with an error ({})",
        f"look at the server's log, or {OTHER_STORE}",
        is_permanent=False,
    ),
)
_DATABASE = (
    _WORKSPACE,
    Row(
        Kind.ENVIRONMENT,
        r"Invalid poolclass parameter",
        "can't be opened as MLFLOW_SQLALCHEMYSTORE_POOLCLASS says ({})",
        "unset it, or name a class of sqlalchemy.pool",
    ),
    Row(
        Kind.NO_DATABASE,
        r"file is not a database|file is encrypted",
        "is no database ({})",
        "name another file in MLFLOW_TRACKING_URI, or move this one away",
    ),
    Row(
        Kind.NO_DATABASE,
        r"FATAL: +database \"[^\"]*\" does not exist|Unknown database",
        "has no such database ({})",
        "create it, or name another in MLFLOW_TRACKING_URI",
    ),
    Row(
        Kind.DAMAGED,
        r"database disk image is malformed|malformed database schema",
        "is damaged ({})",
        "restore a copy of it (or `sqlite3 FILE .recover`), or name another file in MLFLOW_TRACKING_URI",
    ),
    Row(
        Kind.NOT_WRITABLE,
        r"readonly database|read-only transaction|Read-only file system",
        "can't be written ({})",
        f"make the file and its folder writable, or {OTHER_STORE}",
    ),
    Row(
        Kind.DISK,
        r"database or disk is full|disk I/O error|No space left|could not extend file",
        "can't be written ({})",
        f"free space there, or {OTHER_STORE}",
    ),
    Row(
        Kind.LOCKED,
        r"database is locked",
        "is locked by another process ({})",
        "wait for that one, or end it",
        is_permanent=False,
    ),
    Row(
        Kind.SCHEMA,
        r"Can't locate revision|out-of-date database schema|no such column|no such table|has no column named"
        r"|Undefined(Table|Column)|table \"?\w+\"? already exists|Multiple head revisions",
        "was made by another version of MLflow, or by another program ({})",
        "use the MLflow that made it, bring it up to date (mlflow db upgrade ADDRESS), or"
        " name another database in MLFLOW_TRACKING_URI",
    ),
)


def rows_for(address: str) -> Iterator[Row]:
    """The rows that can apply to a store: a server's own database is its own affair."""
    if get_uri_scheme(address) != "sqlite":
        yield from _NETWORK
        yield from _HTTP
    if get_uri_scheme(address) in DATABASE_ENGINES:
        yield from _DATABASE

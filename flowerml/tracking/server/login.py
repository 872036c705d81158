"""Log-in of MLflow's server (its app `basic-auth`): who may do what, and what it needs to start."""

import os
import secrets
from importlib.util import find_spec
from pathlib import Path

from flowerml.errors import UserError
from flowerml.files import check_writable, file_size, write_error, write_private

PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"
PERMISSIONS = ("READ", "USE", "EDIT", "MANAGE", "NO_PERMISSIONS")
_SHORTEST = 12  # characters, as MLflow wants them


def login_environment(users: Path, password_file: Path | None, permission: str) -> dict[str, str]:
    """Variables for a server with log-in, whose accounts are in the SQLite file `users`.

    The first start creates the account `admin`; its password is in `password_file` or in MLFLOW_AUTH_ADMIN_PASSWORD,
    and there is none by default. `permission` is what each account may do with what others have made. Beside `users`,
    the key that signs sessions and the configuration are written, readable by this user alone.

    Raises:
        UserError: no password for the first start, one that is too short, a package or file is missing, or `users` can
            not be written, or named in MLflow's configuration.
    """
    if find_spec("flask_wtf") is None:
        raise UserError("a log-in needs the package Flask-WTF: pip install 'flowerml[server]'")
    users = users.absolute()
    if not users.name:
        raise UserError(f"--users {users}: it is a folder. Name a file in it")
    key, configuration = users.with_suffix(".key"), users.with_suffix(".ini")
    if not str(users).isprintable() or "?" in str(users) or users in (key, configuration):
        raise UserError(f"--users {users}: choose another name, without unprintable characters, ?, .key and .ini")
    password = _password(password_file)
    if file_size(users) == 0:
        if password is None:
            raise UserError(
                f"{users} is new, so the account admin is created, and it needs a password: put it into a file for"
                f" --admin-password-file, or into {PASSWORD}"
            )
        if len(password) < _SHORTEST:
            raise UserError(f"the password of the account admin is too short: {_SHORTEST} characters or more")
    check_writable(users)
    # A password is verified once a minute, not at each request: that takes a fifth of a second.
    lines = [
        "[mlflow]",
        f"default_permission = {permission}",
        f"database_uri = sqlite:///{users}".replace("%", "%%"),
        "admin_username = admin",
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
        "auth_cache_ttl_seconds = 60",
    ]
    try:
        users.touch(mode=0o600)  # it holds hashes of passwords
        if not key.exists():
            write_private(key, secrets.token_hex(32).encode())
        write_private(configuration, "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise UserError(write_error(users, error)) from error
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(configuration),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": key.read_text("utf-8"),
        **({PASSWORD: password} if password is not None else {}),
    }


def _password(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(PASSWORD) or None
    try:
        return file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"--admin-password-file {file}: {reason}") from error

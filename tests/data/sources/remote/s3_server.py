"""A server that speaks S3 on the loopback, which can be away for a while and comes back with its objects."""

from contextlib import contextmanager

BUCKET = "outage"


class S3Server:
    """Moto's server in a thread; its objects are this process's, so that they outlive it."""

    def __init__(self):
        self._port = 0
        self.start()
        self._port = self._moto.get_host_and_port()[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}"

    def start(self):
        """Start it, at the same port as before."""
        from moto.server import ThreadedMotoServer

        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=self._port, verbose=False)
        self._moto.start()

    def stop(self):
        """End it: connections are refused from now on."""
        self._moto.stop()
        self._moto._server.server_close()  # stop() leaves the socket open, where requests would wait


def use_credentials(monkeypatch, url, none):
    """Let boto3 speak with the server at `url`; `none` is a file that is not there."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "a secret of S3",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_CONFIG_FILE": str(none),
        "AWS_SHARED_CREDENTIALS_FILE": str(none),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


@contextmanager
def offered(server, root):
    """The address of the files of a folder in a bucket of their own."""
    import boto3

    client = boto3.client("s3", endpoint_url=server.url)
    client.create_bucket(Bucket=BUCKET)
    keys = [path.name for path in root.iterdir()]
    for key in keys:
        client.put_object(Bucket=BUCKET, Key=f"s/{key}", Body=(root / key).read_bytes())
    try:
        yield f"s3://{BUCKET}/s"
    finally:
        for key in keys:
            client.delete_object(Bucket=BUCKET, Key=f"s/{key}")
        client.delete_bucket(Bucket=BUCKET)

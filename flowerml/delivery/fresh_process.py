"""Run by `verify` as a script, in a process that has nothing of flowerml: a delivered folder used as a stranger would
use it.

Its one argument is a JSON file: the folder, the weights file's name and family, a probe's inputs, photos. It answers
with JSON on stdout.
"""

import json
import sys
import time
from pathlib import Path

SHOWN_EVERY_S = 15.0


def close_network() -> None:
    """From here on, every attempt to look up a name or to connect anywhere is an error."""

    def refuse(event: str, _arguments: tuple) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
            raise ConnectionRefusedError(f"{event}: loading and predicting must not need a network")

    sys.addaudithook(refuse)


def main(request_path: str) -> int:
    """Load, compute the probe's logits, name the photos."""
    close_network()
    request = json.loads(Path(request_path).read_text("utf-8"))
    sys.path.insert(0, request["folder"])
    started = time.monotonic()
    import flowers_classifier as delivered
    import numpy as np
    import torch

    imported = time.monotonic()
    load = {"cnn": delivered.load_cnn_model, "vit": delivered.load_vit_model}[request["family"]]
    try:
        model = load(Path(request["folder"]) / request["weights"])
    except delivered.BadWeights as error:
        print(json.dumps({"refused": str(error)}))
        return 0
    answer = {
        "import_seconds": imported - started,
        "load_seconds": time.monotonic() - imported,
        "classes": list(model.classes),
    }
    if request["inputs"]:
        with torch.inference_mode():
            logits = model(torch.from_numpy(np.load(request["inputs"])))
        answer["logits"] = logits.double().tolist()
    answer["labels"] = names_of(delivered, model, request["photos"])
    print(json.dumps(answer))
    return 0


def names_of(delivered, model, photos: list) -> list:  # type: ignore[no-untyped-def]  # noqa: ANN001 - a module that exists only there
    """The name of each photo; None for one that is not there or can't be used."""
    names: list[str | None] = []
    shown = time.monotonic()
    for path in photos:
        try:
            names.append(delivered.predict(model, path))
        except delivered.BadPicture:
            names.append(None)
        if time.monotonic() - shown > SHOWN_EVERY_S:
            shown = time.monotonic()
            print(
                f"naming the validation photos with the delivered file: {len(names)} of {len(photos)}",
                file=sys.stderr,
                flush=True,
            )
    return names


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

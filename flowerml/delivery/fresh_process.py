"""The script that `verify` runs without flowerml on the path: load a delivered folder, predict, print JSON.

Its argument is a JSON file with the folder, the weights file's name and family, the probe's inputs, photos, and
pictures to predict with the file's own test-time views.
"""

import json
import os
import sys
import time
from pathlib import Path

PROGRESS_EVERY_S = 15.0


def block_network() -> None:
    """Make every later attempt to resolve a name or to connect raise ConnectionRefusedError."""

    def refuse(event: str, _arguments: tuple) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
            raise ConnectionRefusedError(f"{event}: loading and predicting must not need a network")

    sys.addaudithook(refuse)


def main(request_path: str) -> int:
    """Load the model, compute the probe's logits, predict the photos; returns the exit code."""
    block_network()
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
    result = {
        "import_seconds": imported - started,
        "load_seconds": time.monotonic() - imported,
        "classes": list(model.classes),
    }
    if request["inputs"]:
        with torch.inference_mode():
            logits = model(torch.from_numpy(np.load(request["inputs"])))
        result["logits"] = logits.double().tolist()
    if request["viewed"]:
        result["viewed"] = delivered.predict_proba(model, request["viewed"], calibrated=False).tolist()
    model.tta = "none"  # as the run recorded its labels
    result["labels"] = predict_photos(delivered, model, request["photos"])
    print(json.dumps(result))
    return 0


def predict_photos(delivered, model, photos: list) -> list:  # type: ignore[no-untyped-def]  # noqa: ANN001 - a module that exists only there
    """The predicted class of each photo; None for one that is missing or can't be used."""
    names: list[str | None] = []
    last_shown = time.monotonic()
    for path in photos:
        try:
            names.append(delivered.predict(model, path))
        except delivered.BadPicture:
            names.append(None)
        if time.monotonic() - last_shown > PROGRESS_EVERY_S:
            last_shown = time.monotonic()
            print(
                f"naming the validation photos with the delivered file: {len(names)} of {len(photos)}",
                file=sys.stderr,
                flush=True,
            )
    return names


if __name__ == "__main__":
    exit_code = main(sys.argv[1])
    sys.stdout.flush()
    os._exit(exit_code)  # the interpreter's teardown of all that torch has imported would take seconds

"""`flowerml app` as a person uses it: a real process, a browser that clicks, and no request to anywhere else."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from flowerml.data.synthetic.flowers import make_flowers
from flowerml.prediction import predict, predict_proba, predict_relation_proba
from tests.app.conftest import CNN, RELATIONS, STRICT, VIT
from tests.cli.test_commands import ROOT, environment

# Not importorskip: every test process would import it (seconds) while it collects, and `flowerml app` is a process.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("gradio") is None, reason="Gradio is not installed: pip install 'flowerml[app]'"),
]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
clicks = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
MARKUP = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A photo of each flower, and files that are none."""
    folder = tmp_path_factory.mktemp("photos")
    make_flowers(folder / "good", per_class=1, size=200, seed=3)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (folder / MARKUP).write_bytes(b"\xff\xd8\xff no picture")
    (folder / "large.jpg").write_bytes(b"\xff\xd8\xff" + bytes(21 * 1024**2))
    return folder


@contextmanager
def served(weights, scratch, stop):
    """Context with the page's address; asserts that `stop` ends the process with exit code 0 and leaves nothing."""
    said = scratch / "said"
    files = [str(weights / name) for name in (CNN, VIT, STRICT, RELATIONS)]
    words = ["app", "--checkpoint", *files, "--port", "0", "--device", "cpu"]
    command = [sys.executable, "-m", "flowerml.cli.main", *words]
    proxy = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")  # no answer
    env = {**environment(), **proxy, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)}
    with said.open("w") as out:
        server = subprocess.Popen(command, cwd=scratch, env=env, stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + 120
            while "Ctrl-C" not in said.read_text():
                assert server.poll() is None, said.read_text()
                assert time.monotonic() < deadline, "no answer from the server"
                time.sleep(0.2)
            found = re.search(r"http://127\.0\.0\.1:\d+", said.read_text()).group()
            yield found
            server.send_signal(stop)
            assert server.wait(60) == 0
        finally:
            server.kill()
            server.wait()
    # Gradio prints one for a path that was not uploaded: test_no_other_files_and_no_other_names.
    assert said.read_text().count("Traceback (") <= said.read_text().count("it was not uploaded by a user")
    assert [path.name for path in scratch.iterdir()] == ["said"], "uploads are removed"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(found.rpartition(":")[2]))) != 0


@pytest.fixture(scope="module")
def address(weights, tmp_path_factory):
    """The address of a page that all tests share."""
    with served(weights, tmp_path_factory.mktemp("scratch"), signal.SIGTERM) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        expect.set_options(timeout=60_000)  # ms; a busy machine
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *CAMERA])
        yield found
        found.close()


@pytest.fixture(params=[{"width": 1280, "height": 900}, {"width": 400, "height": 800}], ids=["wide", "narrow"])
def page(request, browser, address):
    """The opened page; asserts that nothing was asked of another host, and that the page fits its window."""
    context = browser.new_context(viewport=request.param, permissions=["camera"], color_scheme="dark")
    context.set_default_timeout(60_000)
    asked, dialogs = [], []
    context.on("request", lambda one: asked.append(one.url))
    opened = context.new_page()
    opened.on("websocket", lambda one: asked.append(one.url))
    opened.on("dialog", lambda one: (dialogs.append(one.message), one.dismiss()))
    opened.goto(address)
    yield opened
    width = opened.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert len(asked) > 20
    assert [url for url in asked if not url.startswith((address, "data:", f"blob:{address}"))] == []
    assert dialogs == []
    assert width <= request.param["width"]


def choose(page, *paths):
    """Choose files in the tab that is open."""
    tab = page.get_by_role("tabpanel").filter(visible=True)
    tab.locator("input[type=file]").first.set_input_files([str(path) for path in paths])


@clicks
def test_one_photo_a_broken_one_and_one_that_is_too_large(page, photos, models):
    from playwright.sync_api import expect

    photo = next((photos / "good" / "tulip").iterdir())
    choose(page, photo)
    answers = page.locator(".answer")
    for place, name in enumerate((CNN, VIT, STRICT)):
        model = models.classifiers[name]
        label = f"{predict(model, photo)} {predict_proba(model, photo).max():.1%}"
        expect(answers.nth(place)).to_contain_text(name)
        expect(answers.nth(place)).to_contain_text("none of these" if name == STRICT else label)
        expect(page.get_by_alt_text(f"Where {name} looks")).to_have_js_property("naturalWidth", 320)
    page.get_by_label("Remove Image").click()
    expect(answers.first).to_have_text(re.compile(rf"^\s*{CNN}\s*$"))
    choose(page, photos / "broken.jpg")
    expect(page.get_by_role("alert")).to_have_text("broken.jpg: not a picture in JPEG, PNG, WEBP, BMP, GIF, TIFF, AVIF")
    expect(answers.first).to_have_text(re.compile(rf"^\s*{CNN}\s*$"))
    page.get_by_label("Remove Image").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    choose(page, photos / "large.jpg")
    expect(page.get_by_text('exceed the maximum allowed size of 20.0 Mb: "large.jpg"')).to_be_visible()


@clicks
def test_a_picture_of_the_camera(page):
    from playwright.sync_api import expect

    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("[...document.querySelectorAll('video')].some(one => one.videoWidth && one.currentTime)")
    page.get_by_label("capture photo").click()
    expect(page.locator(".answer").first).to_contain_text("%")
    expect(page.get_by_alt_text(f"Where {CNN} looks")).to_be_visible()


@clicks
def test_several_photos_are_a_table_and_bad_ones_lines_of_it(page, photos, models):
    from playwright.sync_api import expect

    page.get_by_role("tab", name="Several photos").click()
    good = sorted((photos / "good").glob("*/*"))
    choose(page, *good, photos / "broken.jpg", photos / MARKUP)
    rows = page.locator(".answers tbody tr")
    expect(rows).to_have_count(len(good) + 2)
    for place, photo in enumerate(good):
        expect(rows.nth(place)).to_contain_text(photo.name)
        for name in (CNN, VIT):
            model = models.classifiers[name]
            expect(rows.nth(place)).to_contain_text(f"{predict(model, photo)} {predict_proba(model, photo).max():.1%}")
        expect(rows.nth(place)).to_contain_text("none of these")
    bad = "can't be used: not a picture in JPEG, PNG, WEBP, BMP, GIF, TIFF, AVIF"
    for place, name in enumerate(("broken.jpg", MARKUP), start=len(good)):
        expect(rows.nth(place).locator("td")).to_have_text([name, bad])


@clicks
def test_a_relation_by_four_clicks(page, photos, models):
    from playwright.sync_api import expect

    page.get_by_role("tab", name="Relations").click()
    photo = next((photos / "good" / "rose").iterdir())
    choose(page, photo)
    drawn, answer = page.get_by_alt_text("the picture to click on"), page.locator(".answer").filter(visible=True)
    expect(page.get_by_text("Click the first corner of the subject.")).to_be_visible()
    steps = (
        "the opposite corner of the subject",
        "the first corner of the object",
        "the opposite corner of the object",
    )
    corners = ((10, 20), (90, 110), (120, 30), (60, 150))
    for (x, y), step in zip(corners, (*steps, "again"), strict=True):
        drawn.click(position={"x": x, "y": y})
        expect(page.get_by_text(f"Click {step}")).to_be_visible()
    first, second = (10, 20, 90, 110), (60, 30, 120, 150)
    for button, boxes in ((None, (first, second)), ("Swap subject and object", (second, first))):
        if button:
            page.get_by_role("button", name=button).click()
        shares = predict_relation_proba(models.relations[RELATIONS], photo, *boxes)
        relation = models.relations[RELATIONS].classes[int(shares.argmax())]
        expect(answer).to_contain_text(f"the subject is {relation} the object")
        shown = float(re.search(r"([\d.]+)%", answer.inner_text())[1]) / 100
        assert shown == pytest.approx(shares.max(), abs=0.005), "a click is rounded to pixels, one more or less"
    restart = page.get_by_role("button", name="New boxes")
    restart.click()
    expect(answer).to_have_text(re.compile(rf"^\s*{RELATIONS}\s*$"))
    for x, y in corners:
        drawn.click(position={"x": x, "y": y})  # without waiting for the answers
    expect(page.get_by_text("Click again to draw new boxes.")).to_be_visible()
    restart.click()
    expect(page.get_by_text("Click the first corner of the subject.")).to_be_visible()
    drawn.click(position={"x": 10, "y": 20})
    expect(page.get_by_text("Click the opposite corner of the subject.")).to_be_visible()
    drawn.click(position={"x": 10, "y": 60})
    expect(page.get_by_text("the two corners of a box must differ in both directions")).to_be_visible()


@clicks
def test_ctrl_c_ends_it_while_a_page_is_open(browser, weights, photos, tmp_path):
    from playwright.sync_api import expect

    with served(weights, tmp_path, signal.SIGINT) as found:
        page = browser.new_page()
        page.goto(found)
        page.locator("input[type=file]").first.set_input_files(str(next((photos / "good" / "tulip").iterdir())))
        expect(page.locator(".answer").first).to_contain_text("%")
    page.close()


def test_no_other_files_and_no_other_names(address, tmp_path, photos):
    """A page elsewhere, or a program here, can't make the server read what nobody has uploaded."""
    assert status(f"{address}/") == 200
    assert status(f"{address}/", Host="elsewhere.example") == 400
    secret = next((photos / "good" / "rose").iterdir())
    assert status(f"{address}/gradio_api/file={secret}") == 403
    file = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    sent = json.dumps({"data": [file], "fn_index": 0, "session_hash": "abc"}).encode()
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(f"{address}/gradio_api/queue/join", sent, headers), timeout=30) as answer:
        assert answer.status == 200
    with urlopen(f"{address}/gradio_api/queue/data?session_hash=abc", timeout=60) as events:
        for line in events:
            if b"process_completed" in line:
                break
    assert json.loads(line.removeprefix(b"data: "))["success"] is False
    assert status(f"{address}/gradio_api/file={secret}") == 403


def status(url, **headers):
    """The status of a request."""
    try:
        with urlopen(Request(url, headers=headers), timeout=30) as answer:
            return answer.status
    except HTTPError as error:
        return error.code

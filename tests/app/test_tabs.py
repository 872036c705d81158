"""What the tabs answer to what a browser sends, without one: pictures of all kinds, limits, errors in one sentence."""

import io
import re
from importlib.util import find_spec

import pytest
from PIL import Image

from flowerml.data.decode import PIXEL_LIMIT, BadImage, read_image
from flowerml.evaluation.heat_map import NoHeatMap
from flowerml.prediction import predict, predict_proba, predict_relation_proba
from tests.app.conftest import CNN, RELATIONS, STRICT, VIT
from tests.data.encoded_images import png_header
from tests.prediction.delivered import odd_pictures

MARKUP = "<img src=x onerror=alert(1)>.jpg"
# Gradio is imported by the tests, not by the module: every test process collects, and the import takes seconds.
pytestmark = pytest.mark.skipif(
    find_spec("gradio") is None, reason="Gradio is not installed: pip install 'flowerml[app]'"
)


def payload(path, name=None):
    """A file as Gradio hands it over."""
    return {"path": str(path), "orig_name": name or path.name, "meta": {"_type": "gradio.FileData"}}


@pytest.fixture
def photo(flowers):
    return sorted((flowers / "tulip").iterdir())[0]


def text_of(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_one_photo_has_for_each_model_its_label_bars_and_heat_map(models, photo):
    from flowerml.app import photo_tabs

    said, *values = photo_tabs._photo_values(models.classifiers, payload(photo))
    assert said == ""
    for place, (name, model) in enumerate(models.classifiers.items()):
        html, shares, overlay = values[3 * place : 3 * place + 3]
        label, share = predict(model, photo), predict_proba(model, photo).max()
        assert shares[label] == pytest.approx(share, abs=1e-6)
        assert overlay.size == (320, 320)
        words = {
            CNN: f"{name} {label} {share:.1%}",
            VIT: f"{name} {label} {share:.1%} These weights can't tell pictures of something else.",
            STRICT: f"{name} none of these Less like its classes than 95 % of the photos that it was validated on. Were"
            f" it one of them: {label}, {share:.1%}.",
        }
        assert text_of(html).replace("&#39;", "'") == words[name]


def test_a_bad_file_is_one_sentence_and_no_answer_stays(models, tmp_path):
    from flowerml.app import photo_tabs

    (tmp_path / "bomb.png").write_bytes(png_header(20_000, 20_000))
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    for name, words in {
        "bomb.png": f"bomb.png: the picture is over the limit of {PIXEL_LIMIT:,} pixels",
        "broken.jpg": "broken.jpg: not a picture in JPEG, PNG, WEBP, BMP, GIF, TIFF, AVIF",
    }.items():
        said, *values = photo_tabs._photo_values(models.classifiers, payload(tmp_path / name))
        assert text_of(said) == words
        assert values[1::3] == values[2::3] == [None] * 3
        assert [text_of(html) for html in values[::3]] == list(models.classifiers)


def test_no_photo_clears_everything(models):
    from flowerml.app import photo_tabs

    said, *values = photo_tabs._photo_values(models.classifiers, None)
    assert said == ""
    assert values[1::3] == [None] * 3


def test_an_architecture_without_maps_is_answered_without_one(models, photo, monkeypatch):
    from flowerml.app import photo_tabs

    def refuse(*_):
        raise NoHeatMap("none")

    monkeypatch.setattr(photo_tabs, "class_overlay", refuse)
    _, html, shares, overlay = photo_tabs._photo_values({CNN: models.classifiers[CNN]}, payload(photo))
    assert overlay is None
    assert shares
    assert text_of(html).endswith("This architecture has no heat map.")


def test_several_photos_are_answered_as_predict_does_and_bad_ones_say_why(models, tmp_path):
    from flowerml.app import photo_tabs

    names = []
    for number, (name, data) in enumerate(odd_pictures().items()):
        names.append(name)
        (tmp_path / f"{number}").write_bytes(data)
    for number, name in enumerate(names):
        path = tmp_path / f"{number}"
        row = photo_tabs._row(models.classifiers, photo_tabs.Upload.from_payload(payload(path, name)))
        assert row.photo == name
        wanted, reason = [], ""
        try:
            wanted = [predict(one, path) for one in models.classifiers.values()]
        except BadImage as error:
            reason = str(error).removeprefix(f"{path}: ")
        assert ([one.likeliest for one in row.answers], row.reason) == (wanted, reason)


def test_names_are_text_not_markup(models, tmp_path):
    import gradio as gr

    from flowerml.app import photo_tabs
    from flowerml.app.parts import answer_html, errors_in_page, message

    (tmp_path / "x").write_bytes(b"none")
    row = photo_tabs._row(models.classifiers, photo_tabs.Upload.from_payload(payload(tmp_path / "x", MARKUP)))
    pages = [photo_tabs._table([*models.classifiers, MARKUP], [row]), message(MARKUP), answer_html(MARKUP, MARKUP)]
    assert not any("<img" in page for page in pages)
    with pytest.raises(gr.Error) as caught, errors_in_page():
        raise BadImage(MARKUP)
    assert "<img" not in caught.value.message


def test_too_many_photos_are_refused_in_one_sentence(models, tmp_path):
    from flowerml.app import photo_tabs
    from flowerml.app.uploads import MAX_PICTURES

    payloads = [payload(tmp_path / "x")] * (MAX_PICTURES + 1)
    html = photo_tabs._table_of(models.classifiers, payloads, list)
    assert text_of(html) == "101 photos: 100 at once are allowed. For folders: flowerml predict"


def test_errors_that_nobody_expected_are_one_sentence_in_the_page_and_in_the_log(capsys):
    import gradio as gr

    from flowerml.app.parts import errors_in_page

    with pytest.raises(gr.Error) as caught, errors_in_page():
        raise RuntimeError("the driver\nis gone <b>")
    assert (
        caught.value.message == "That did not work (RuntimeError: the driver\\nis gone &lt;b&gt;). Other pictures may."
    )
    assert capsys.readouterr().err == "warning: a request of the page failed (RuntimeError: the driver\\nis gone <b>)\n"


def test_a_relation_needs_both_boxes(models, photo):
    from flowerml.app import relation_tab

    corners, said = relation_tab._opened(payload(photo))
    assert said == ""
    *_, html, shares = relation_tab._drawing_values(models.relations, corners.clicked(2, 2).clicked(30, 30))
    assert (text_of(html), shares) == (RELATIONS, None)


def test_the_relation_is_that_of_predict_relation_in_the_upright_picture(models, photo, tmp_path):
    from flowerml.app import relation_tab

    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.open(photo).rotate(90, expand=True).save(buffer, "PNG", exif=exif)
    (tmp_path / "turned.png").write_bytes(buffer.getvalue())
    corners, _ = relation_tab._opened(payload(tmp_path / "turned.png"))
    assert corners.size == Image.open(photo).size
    for point in ((2, 3), (30, 25), (50, 52), (20, 40)):
        corners = corners.clicked(*point)
    _, shown, step, html, shares = relation_tab._drawing_values(models.relations, corners)
    model = models.relations[RELATIONS]
    wanted = predict_relation_proba(model, read_image(photo), (2, 3, 30, 25), (20, 40, 50, 52))
    assert [*shares.values()] == pytest.approx(wanted.tolist(), abs=1e-6)
    best = model.classes[int(wanted.argmax())]
    assert text_of(html) == f"{RELATIONS} the subject is {best} the object {wanted.max():.1%}"
    assert shown.size == corners.size
    assert step == "Click again to draw new boxes."


def test_a_bad_picture_has_no_boxes(models, tmp_path):
    from flowerml.app import relation_tab

    (tmp_path / "x").write_bytes(b"")
    corners, said = relation_tab._opened(payload(tmp_path / "x"))
    assert corners is None
    assert text_of(said) == "x: the file is empty"
    assert relation_tab._drawing_values(models.relations, corners)[:3] == [None, None, "Choose a picture first."]


def test_paths_are_checked_and_analytics_are_off(models, tmp_path, monkeypatch):
    from flowerml.app.page import build_page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    page = build_page(models)
    blocks = next(route.app for route in page.routes if hasattr(route.app, "get_blocks")).get_blocks()
    assert blocks.has_launched
    assert not blocks.analytics_enabled
    assert blocks.max_file_size == 20 * 1024**2
    assert "googleapis" not in blocks.theme_css

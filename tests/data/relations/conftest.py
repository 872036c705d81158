"""Fixtures of the annotation readers."""

import pytest

from tests.data.relations.annotation_files import FORMS


@pytest.fixture(params=FORMS, ids=lambda name: name.replace(" ", "-"))
def write(request):
    return FORMS[request.param]

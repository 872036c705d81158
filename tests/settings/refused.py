"""What `resolve` says of settings that it refuses."""

import pytest

from flowerml.errors import UserError
from flowerml.settings import resolve


def refusal(**asked):
    with pytest.raises(UserError) as caught:
        resolve(asked)
    assert caught.value.exit_code == 2
    return str(caught.value)

"""What differs between the run in a folder and this one, in a few words."""

from flowerml.settings.differences import describe_differences
from flowerml.settings.identity import identity_values
from tests.settings.samples import COMPLETE, DIGESTS

HERE = identity_values(COMPLETE, DIGESTS)


def there(**changes):
    return identity_values(COMPLETE.replace(**changes), DIGESTS)


def test_names_both_values():
    assert describe_differences(there(lr_head=0.002), HERE) == "lr_head 0.002 there, 0.001 here"


def test_lists_and_nothing_as_a_person_types_them():
    words = "classes daisy,rose there, daisy,dandelion,rose,sunflower,tulip here; stop_epoch 7 there, none here"
    assert describe_differences(there(classes="rose,daisy", stop_epoch=7), HERE) == words


def test_digests_are_cut():
    assert describe_differences({**HERE, "data": "0" * 64}, HERE) == "data 00000000 there, dddddddd here"


def test_a_setting_that_came_later_was_at_its_default():
    assert describe_differences(HERE, there(focal_gamma=2)) == "focal_gamma 0.0 there, 2.0 here"
    assert describe_differences({**HERE, "focal_gamma": 0.0}, HERE) == "nothing that is written down"


def test_at_most_four_and_how_many_more():
    line = describe_differences(there(lr_head=0.1, lr_backbone=0.1, epochs=9, batch_size=8, ema=False, amp=False), HERE)
    assert line.count(" there, ") == 4
    assert line.endswith("; and 2 more")

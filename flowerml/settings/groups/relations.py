"""What only models of relations take: annotations, wording, box features, embedding."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

from flowerml.settings.groups.base import SettingsGroup
from flowerml.settings.spec import RELATION, setting
from flowerml.settings.values import Bool, Float, Int, Text, parse_none


class RelationSettings(SettingsGroup):
    """The group `relations of two boxed objects` of `Settings`."""

    annotations: Annotated[Text | None, BeforeValidator(parse_none)] = setting(
        None,
        group=RELATION,
        about="boxes and relations of the pictures in --train-dir",
        auto="found there",
        identity=False,
        min_length=1,
    )
    test_annotations: Annotated[Text | None, BeforeValidator(parse_none)] = setting(
        None, group=RELATION, about="the same of those in --test-dir", auto="found there", identity=False, min_length=1
    )
    wording: Text = setting(
        "exact",
        group=RELATION,
        about="which texts count as one of the ten relations",
        allowed="exact, synonyms, PATH of a .csv (text,relation)",
        identity=False,
        min_length=1,
    )
    box_features: Literal["seed", "published", "rich"] = setting(
        "seed",
        group=RELATION,
        about="numbers of the two boxes: 8 of offsets and areas, 12 of published papers, or 45",
        late=True,
    )
    embedding: Int = setting(
        128, group=RELATION, about="width in which pair and relation are compared", ge=1, le=65_536, late=True
    )
    temperature: Float = setting(0.07, group=RELATION, about="divides the cosine of the two", gt=0, le=100, late=True)
    spatial_dropout: Float = setting(
        0.2, group=RELATION, about="dropout of the box numbers' layers", ge=0, lt=1, late=True
    )
    flip: Float = setting(
        0.5,
        group=RELATION,
        about="share of pairs trained on mirrored: picture, boxes, left of and right of",
        ge=0,
        le=1,
        late=True,
    )
    cache_features: Bool = setting(
        True,
        group=RELATION,
        about="compute the features of a backbone that stays frozen once, and keep them",
        identity=False,
    )

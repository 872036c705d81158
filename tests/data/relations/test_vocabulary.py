"""Relation names: the exact ones, synonyms, a table of the user."""

import json

import pytest

from flowerml.data.relations.formats import read_annotations
from flowerml.data.relations.records import RELATIONS
from flowerml.data.relations.vocabulary import Vocabulary, load_vocabulary
from flowerml.errors import UserError
from tests.data.relations.annotation_files import scene_graph, visual_genome
from tests.data.relations.readers_common import NAMES


class TestNames:
    """Which texts mean one of the ten: a table in a file."""

    def test_the_exact_names_are_the_ten(self):
        assert set(NAMES.values()) == set(RELATIONS)
        assert NAMES["on the left of"] == "left of"
        assert NAMES["outside of"] == "outside"
        assert "beside" not in NAMES

    def test_synonyms_hold_the_exact_names_and_more(self):
        synonyms = load_vocabulary(Vocabulary.SYNONYMS)
        assert NAMES.items() < synonyms.items()
        assert (synonyms["beside"], synonyms["beneath"], synonyms["on top of"]) == ("next to", "under", "on")

    def test_case_and_blanks_do_not_matter(self, tmp_path):
        assert (
            read_annotations(visual_genome(tmp_path, relation=" On the  LEFT of"), NAMES).pairs[0].relation == "left of"
        )

    def test_other_relations_are_counted_by_text(self, tmp_path):
        path = scene_graph(tmp_path)
        (graph,) = json.loads(path.read_text())
        graph["relationships"] += [
            {"objects": [0, 1], "relationship": text, "text": []} for text in ("beside", "Beside", "wears")
        ]
        path.write_text(json.dumps([graph]))
        read = read_annotations(path, NAMES)
        assert dict(read.other_relations) == {"beside": 2, "wears": 1}
        assert any("3 of 2 texts ('beside' 2, 'wears' 1" in line for line in read.summary_lines())
        assert len(read_annotations(path, load_vocabulary(Vocabulary.SYNONYMS)).pairs) == 3

    def test_a_table_of_ones_own(self, tmp_path):
        own = tmp_path / "mine.csv"
        own.write_text("text,relation\nhovers over,above\n")
        assert load_vocabulary(path=own) == {"hovers over": "above"}

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("text,relation\nover,atop\n", "line 2: 'atop' is none of the ten relations: on, under"),
            ("text,relation\nover,above\nOVER,on\n", "line 3: 'OVER' is both 'above' and 'on'"),
            ("text,relation\nover\n", "line 2: a text and a relation are needed"),
            ("words\nover\n", "a text and a relation are needed"),
            ("text,relation\n", "no names in it"),
        ],
    )
    def test_a_wrong_table_is_refused(self, tmp_path, content, expected):
        (tmp_path / "mine.csv").write_text(content)
        with pytest.raises(UserError) as caught:
            load_vocabulary(path=tmp_path / "mine.csv")
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)

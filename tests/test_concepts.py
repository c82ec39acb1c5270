"""Each concept has few words and a picture of our own, and stands at something that is there."""

import re
from xml.etree import ElementTree

import pytest

from core.config import Config
from tests.conftest import ROOT
from ui.concepts import CONCEPTS, head
from ui.form import FIELDS

PICTURES = ROOT / "assets" / "concepts"
STYLE = (ROOT / "assets" / "concepts.css").read_text(encoding="utf-8")
DRAWN = {"svg", "path", "rect", "circle", "ellipse", "g", "text"}
each_concept = pytest.mark.parametrize("concept", CONCEPTS, ids=lambda concept: concept.name)


@each_concept
def test_a_picture_is_plain_shapes_in_the_colours_of_the_page(concept):
    root = ElementTree.parse(PICTURES / f"{concept.name}.svg").getroot()
    for element in root.iter():
        assert element.tag.rpartition("}")[2] in DRAWN
        assert not {name for name in element.attrib if name in ("style", "fill", "stroke", "href")
                    or name.startswith("on")}
        for name in element.get("class", "").split():
            assert f".td-concept .{name} {{" in STYLE, name
    assert len(list(root.iter())) > 3


@each_concept
def test_a_picture_needs_no_language(concept):
    text = "".join(ElementTree.parse(PICTURES / f"{concept.name}.svg").getroot().itertext())
    assert not re.findall("[A-Za-z]{3,}", text) or concept.name in ("token", "alpha")


@each_concept
def test_it_is_said_in_few_words(concept):
    assert 12 <= len(concept.words.split()) <= 60


@each_concept
def test_the_settings_at_which_it_stands_are_there(concept):
    for selector in concept.at:
        if selector.startswith("#set-"):
            assert selector.removeprefix("#set-") in FIELDS


def test_no_picture_lies_about_unused_and_no_place_has_two():
    assert {path.stem for path in PICTURES.iterdir()} == {c.name for c in CONCEPTS}
    places = [selector for concept in CONCEPTS for selector in concept.at]
    assert len(places) == len(set(places))


def test_what_the_issue_of_help_names_is_explained():
    titles = " ".join(concept.title for concept in CONCEPTS)
    for word in ("cross-entropy", "LoRA", "Rank", "Quantization", "Epoch", "Learning rate",
                 "Overfitting", "Perplexity"):
        assert word in titles


def test_the_data_in_the_page_cannot_end_its_script(folders):
    script = head(folders).partition("</script>")[0]
    assert "</" not in script.partition(">")[2]


def test_settings_shown_at_first_are_explained_where_they_are_hard():
    explained = {selector for concept in CONCEPTS for selector in concept.at}
    simple = {name for name, f in Config.__dataclass_fields__.items() if f.metadata["simple"]}
    assert {name for name in simple if f"#set-{name}" not in explained} == {"train_rows"}

"""Every sentence that the page may show has its translation, and none is kept for nothing."""

import json
import re

import pytest

from tests.language.collector import ROOT, everything

LOCALES = sorted((ROOT / "assets/locale").glob("*.json"))
SHOWN = everything()
each_language = pytest.mark.parametrize("path", LOCALES, ids=lambda path: path.stem)


def _read(path) -> dict[str, str]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_there_is_chinese():
    assert "zh" in [path.stem for path in LOCALES]


@each_language
def test_nothing_visible_lacks_a_translation(path):
    missing = {text: where for text, where in SHOWN.items() if text not in _read(path)}
    ready = ",\n".join(f' {json.dumps(text, ensure_ascii=False)}: ""' for text in missing)
    places = "\n".join(f"{where}: {text}" for text, where in missing.items())
    assert not missing, (
        f"Translate these in {path.name}, or list those that no page shows in "
        f"tests/language/not_shown.json:\n{ready}\n\nThey stand here:\n{places}")


@each_language
def test_no_translation_is_unused(path):
    unused = [text for text in _read(path) if text not in SHOWN]
    assert not unused, f"Nothing says these any more; remove them from {path.name}: {unused}"


@each_language
def test_a_translation_holds_the_values_of_its_sentence(path):
    for english, translated in _read(path).items():
        assert translated.strip(), english
        holes = [set(re.findall(r"\{\d+\}", text)) for text in (english, translated)]
        assert holes[0] == holes[1], english


@each_language
def test_the_catalogue_is_in_order(path):
    """So that two people who add to it seldom touch the same lines."""
    keys = list(_read(path))
    assert keys == sorted(keys)

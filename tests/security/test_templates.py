"""Chat templates that try to get out, to loop for ever, or to fill the memory."""

import copy

import pytest

from core.data.tokens import bounds
from core.data.tokens.template import learned_end, prompt_text, segments
from core.data.tokens.tokenize import encode
from core.errors import UserError
from tests.conftest import TEMPLATES

ASKED = [{"role": "user", "content": "Is snow white?"}, {"role": "assistant", "content": "Yes."}]
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}BODY{% endfor %}{% endfor %}"
ENDLESS = {
    "loops": LOOP.replace("BODY", ""),
    "loops that write": LOOP.replace("BODY", "x"),
    "a macro that calls itself twice": "{% macro f(n) %}{{ f(n+1) }}{{ f(n+1) }}{% endmacro %}"
                                       "{% macro g(n) %}{% if n %}{% set x = g(n-1) ~ g(n-1) %}"
                                       "{% endif %}{% endmacro %}{{ g(60) }}",
    "a loop that a word sets off": "{% if 'snow' in messages[0]['content'] %}"
                                   + LOOP.replace("BODY", "") + "{% endif %}",
    "a loop that calls itself": "{% for a in [1] recursive %}{% for b in range(99999) %}"
                                "{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
}
LARGE = {
    "a text times a number": "{{ 'x' * 10 ** 10 }}",
    "a text times many": "{% set x = 'x' * 60000000 %}{{ x * 60000000 }}",
    "a text that doubles": "{% set n = namespace(x='xxxxxxxx') %}{% for a in range(60) %}"
                           "{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "a text that doubles by a tilde":
        "{% set n = namespace(x='xxxxxxxx') %}{% for a in range(60) %}"
        "{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "a list in itself": "{% set n = namespace(x=['x']) %}{% for a in range(60) %}"
                        "{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "a list of lists as JSON": "{% set n = namespace(x=['x']) %}{% for a in range(60) %}"
                               "{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | tojson }}",
    "a number's power": "{{ 10 ** 10 ** 10 }}", "a number's product": "{{ 10 ** 60 * 10 ** 60 }}",
    "a width": "{{ 'x'.ljust(10000000000) }}", "a format": "{{ '%9999999999d' % 1 }}",
    "a format's width": "{{ '{:>{w}}'.format(1, w=9999999999) }}",
    "a filter": "{{ 'x' | center(10000000000) }}",
    "a formatting filter": "{{ '%*d' | format(9, 1) }}",
    "an indent": "{{ ('\\n' * 1000000) | indent(900) }}",
    "many words in place of one": "{% set x = 'x' * 60000000 %}{{ x | replace('x', x) }}",
    "the same by a method": "{% set x = 'x' * 60000000 %}{{ x.replace('x', x) }}",
    "many written": "{% set x = 'x' * 60000000 %}{% for a in range(99999) %}{{ x }}{% endfor %}",
    "many in a block": "{% set x = 'x' * 60000000 %}{% set y %}{% for a in range(99999) %}{{ x }}"
                       "{% endfor %}{% endset %}{{ y }}",
}
ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch MARK') }}",
    "{{ self.__init__.__globals__ }}", "{{ messages.__class__.__base__ }}",
    "{{ raise_exception.__globals__['__builtins__']['open']('MARK', 'w') }}",
    "{{ (messages | attr('__class__')).__base__ }}", "{{ tojson.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}", "{{ strftime_now.__globals__ }}",
    "{% import 'os' as os %}{{ os.system('touch MARK') }}", "{% include '/etc/passwd' %}",
    "{% extends '/etc/passwd' %}", "{{ ''.format.__self__.__class__.mro() }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "{{ messages.append({'role': 'system', 'content': 'x'}) }}", "{{ lipsum.__globals__ }}",
    "{{ 'x' | _said | attr('__class__') }}", "{{ messages | _ticked | attr('_environment') }}",
]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(bounds, "SECONDS", 0.5)


def with_own(tokenizer, template: str):
    changed = copy.copy(tokenizer)
    changed.chat_template = template
    return changed


@pytest.mark.parametrize("name", ENDLESS)
def test_a_template_that_loops_ends_in_words(tokenizer, name):
    """It came with the model, so nobody tried it out before."""
    with pytest.raises(UserError, match="more than"):
        segments(ASKED, with_own(tokenizer, ENDLESS[name]))
    with pytest.raises(UserError, match="more than"):  # the next row doesn't wait again
        prompt_text(ASKED[:1], with_own(tokenizer, ENDLESS[name]))


@pytest.mark.parametrize("name", LARGE)
def test_a_template_that_would_fill_the_memory_ends_in_words(tokenizer, name):
    with pytest.raises(UserError, match="refuses"):
        segments(ASKED, with_own(tokenizer, LARGE[name]))


@pytest.mark.parametrize("template", ESCAPES)
def test_a_template_reaches_nothing_but_the_dialogue(tokenizer, template, tmp_path):
    mark = tmp_path / "ran"
    messages = copy.deepcopy(ASKED)
    try:
        said = prompt_text(messages, with_own(tokenizer, template.replace("MARK", str(mark))))
    except UserError:
        said = ""
    assert not mark.exists() and messages == ASKED
    assert not [word for word in ("root:", "class", "builtins", "object at") if word in said]


def test_encoding_a_row_and_the_end_of_an_answer_are_bound_as_well(tokenizer):
    evil = with_own(tokenizer, ENDLESS["loops"])
    for ask in (lambda: encode(ASKED, evil, "all answers", 64), lambda: learned_end(evil)):
        with pytest.raises(UserError):
            ask()


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.jinja")), ids=lambda path: path.stem)
def test_within_its_bounds_a_real_template_writes_the_same(tokenizer, path, monkeypatch):
    from transformers.utils import chat_template_utils as library

    template = path.read_text(encoding="utf-8")
    names = tokenizer.special_tokens_map
    plain = library._cached_compile_jinja_template(template)
    kept = library._compile_jinja_template(template)
    assert isinstance(kept.environment, bounds.Bounded)
    for turns in (ASKED[:1], ASKED, ASKED * 3):
        for for_answer in (True, False):
            given = {"messages": turns, "add_generation_prompt": for_answer, "tools": None,
                     "documents": None, **names}
            assert kept.render(**given) == plain.render(**given)

# ruff: noqa: E501 (templates are shown whole)
"""Templates from strangers: each is a result or an error, soon, whatever it does."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from tabagent import ChatTemplate, ChatTemplateError

BOMBS = {
    "text times a number": "{{ 'a' * 10**9 }}",
    "text times a large number": "{{ 'a' * 10**18 }}",
    "list times a number": "{{ [1] * 10**9 }}",
    "list of lists times a number": "{{ ([[1]] * 1000000) * 1000000 }}",
    "long range": "{{ range(10**9) | list }}",
    "range of ranges": "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "doubling": "{% set ns = namespace(s='ab') %}{% for i in range(80) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s | length }}",
    "doubling with plus": "{% set ns = namespace(s='ab') %}{% for i in range(80) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "doubling a list": "{% set ns = namespace(s=[1]) %}{% for i in range(80) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "doubling by join": "{% set ns = namespace(s='ab') %}{% for i in range(80) %}{% set ns.s = [ns.s, ns.s] | join(ns.s) %}{% endfor %}",
    "doubling by format": "{% set ns = namespace(s='%s') %}{% for i in range(80) %}{% set ns.s = ns.s.replace('%s', '%s%s') %}{% endfor %}",
    "doubling by capture": "{% set ns = namespace(s='ab') %}{% for i in range(80) %}{% set t %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = t %}{% endfor %}",
    "replace": "{% set s = 'a' * 100000 %}{{ s.replace('a', s) | length }}",
    "replace filter": "{% set s = 'a' * 100000 %}{{ s | replace('', s) | length }}",
    "join": "{% set s = 'a' * 1000000 %}{{ ([s] * 100000) | join(s) | length }}",
    "width": "{{ 'a'.center(10**12) }}",
    "zfill": "{{ '1'.zfill(10**12) }}",
    "percent width": "{{ '%1000000000000d' % 1 }}",
    "percent star": "{{ '%*d' % (10**12, 1) }}",
    "percent precision": "{{ '%.1000000000f' % 1.5 }}",
    "format width": "{{ '{:1000000000000}'.format(1) }}",
    "format precision": "{{ '{:.999999999f}'.format(1.5) }}",
    "indent": "{{ ('a\n' * 100000) | indent(10**6) | length }}",
    "indent width": "{{ 'a' | indent(10**12, true) }}",
    "json indent": "{{ [[[[1]]]] | tojson(indent=10**12) }}",
    "json": "{% set s = ['a' * 1000] * 1000 %}{{ ([s] * 1000) | tojson | length }}",
    "power": "{{ 10 ** 10 ** 10 }}",
    "power of powers": "{{ (2 ** 100) ** (2 ** 100) }}",
    "batch": "{{ [1] | batch(10**9, 'x') | list }}",
    "slice": "{{ [1] | slice(10**9, 'x') | list | length }}",
    "tabs": "{{ ('\t' * 1000).expandtabs(10**9) }}",
    "macro calls itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "macros call each other": "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
    "macro doubles": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "caller calls itself": "{% macro f() %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f() %}{{ g() }}{% endcall %}{% endmacro %}{{ g() }}",
    "loop calls itself": "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "deep list": "{% set ns = namespace(s=[]) %}{% for i in range(100000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}",
    "deep dict": "{% set ns = namespace(s={}) %}{% for i in range(100000) %}{% set ns.s = {'a': ns.s} %}{% endfor %}{{ ns.s | tojson }}",
    "deep generator": "{% set ns = namespace(s=[1]) %}{% for i in range(100000) %}{% set ns.s = ns.s | map('abs') %}{% endfor %}{{ ns.s | list }}",
    "many steps": "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}{{ '' }}{% endfor %}{% endfor %}{% endfor %}",
    "sorting long texts": "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{{ ([s ~ 1, s ~ 2] | sort)[2:] }}{% endfor %}",
    "searching long texts": "{% set s = 'a' * 10000000 %}{% for i in range(100000) %}{{ 'b' in s }}{% endfor %}",
    "splitting": "{% set s = 'a ' * 10000000 %}{{ s.split() | length }}",
    "characters": "{% set s = 'a' * 20000000 %}{{ s | list | length }}",
    "output": "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{{ s }}{% endfor %}",
    "unpacking": "{% macro f() %}{{ varargs | length }}{% endmacro %}{% for i in range(100000) %}{{ f(*range(100000)) }}{% endfor %}",
    "keywords": "{{ dict(**dict(**dict(**{}))) }}{% for i in range(100000) %}{% set d = dict(a=1, **{'b': [2] * 10000}) %}{{ d | tojson }}{% endfor %}",
    "a generator in itself": "{% set ns = namespace() %}{% set ns.g = [1, 2] | map('string') %}{% for i in ns.g %}{{ ns.g | list }}{% endfor %}{{ 'a' * 10**9 }}",
}
DEPTH = 5000
SOURCES = {
    "parentheses": "{{ " + "(" * DEPTH + "1" + ")" * DEPTH + " }}",
    "lists": "{{ " + "[" * DEPTH + "]" * DEPTH + " }}",
    "dicts": "{{ " + "{1:" * DEPTH + "1" + "}" * DEPTH + " }}",
    "sums": "{{ 1" + " + 1" * DEPTH + " }}",
    "nots": "{{ " + "not " * DEPTH + "1 }}",
    "minuses": "{{ " + "-" * DEPTH + "1 }}",
    "filters": "{{ 1" + " | string" * DEPTH + " }}",
    "attributes": "{{ a" + ".b" * DEPTH + " }}",
    "subscripts": "{{ a" + "[0]" * DEPTH + " }}",
    "calls": "{{ a" + "()" * DEPTH + " }}",
    "conditions": "{{ 1" + " if 1 else 1" * DEPTH + " }}",
    "ands": "{{ 1" + " and 1" * DEPTH + " }}",
    "powers": "{{ 1" + " ** 1" * DEPTH + " }}",
    "tests": "{{ " + "(" * 100 + "1" + " is odd)" * 100 + " }}",
    "nested ifs": "{% if 1 %}" * DEPTH + "{% endif %}" * DEPTH,
    "nested fors": "{% for i in [1] %}" * DEPTH + "{% endfor %}" * DEPTH,
    "nested macros": "{% macro m() %}" * DEPTH + "{% endmacro %}" * DEPTH,
    "nested targets": "{% set " + "(" * DEPTH + "a" + ")" * DEPTH + " = 1 %}",
    "many elifs": "{% if 0 %}" + "{% elif 0 %}" * DEPTH + "{% endif %}",
    "open tags": "{% if 1 %}" * 100_000,
    "open braces": "{{" * 100_000,
    "large number": "{{ " + "9" * 100_000 + " }}",
    "long text": "x" * 5_000_000,
    "many comments": "{# x #}" * 200_000,
    "endless comment": "{#" + "-" * 1_000_000,
    "endless raw": "{% raw %}" + "{%" * 300_000,
    "endless string": "{{ '" + "\\" * 1_000_001,
    "many strings": "{{ " + "'a' " * 100_000 + "}}",
    "many spaces": "{{" + " " * 1_000_000 + "1 }}",
    "nulls": "\0{{ '\0' }}\0",
}


def outcome(template: str, variables: dict[str, Any] | None = None) -> str | ChatTemplateError:
    try:
        return ChatTemplate(template).render([], adapt=False, **(variables or {}))
    except ChatTemplateError as error:
        return error


def on_small_stack(work: Any) -> Any:
    """The result of `work` on a thread with the smallest stack that Python allows by far."""
    results: list[Any] = []
    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: results.append(work()))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    return results[0]


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_errors_soon(name: str) -> None:
    began = time.monotonic()
    found = on_small_stack(lambda: outcome(BOMBS[name]))
    assert time.monotonic() - began < 30, "a render takes some seconds at most, on a busy machine too"
    assert isinstance(found, ChatTemplateError)
    assert found.fault in {"limit", "operation"}, found
    assert found.line is not None


@pytest.mark.parametrize("name", SOURCES)
def test_texts_of_all_shapes_end_soon(name: str) -> None:
    began = time.monotonic()
    found = on_small_stack(lambda: outcome(SOURCES[name]))
    assert time.monotonic() - began < 30, "parsing takes time in proportion to the text"
    if isinstance(found, ChatTemplateError):
        assert found.fault in {"limit", "syntax", "undefined", "operation"}, found


def test_objects_that_hold_themselves_are_freed() -> None:
    template = (
        "{% set ns = namespace() %}{% set ns.me = ns %}{% set ns.list = [ns] %}{% macro m() %}{{ m }}{% endmacro %}{% set ns.m = m %}"
        "{% for i in [1, 2] %}{% set ns.loop = loop %}{% set ns.g = [ns] | map(attribute='me') %}{% endfor %}{{ ns is defined }}"
    )
    for _ in range(2000):
        assert outcome(template) == "True"
    chain = "{% set ns = namespace() %}{% for i in range(90000) %}{% set ns.head = namespace(before=ns.head) %}{% endfor %}ok"
    assert on_small_stack(lambda: outcome(chain)) == "ok"


def test_long_conversations_are_no_bombs() -> None:
    template = "{% set ns = namespace(s='') %}{% for m in messages %}{% set ns.s = ns.s ~ '<' ~ m.role ~ '>' ~ m.content %}{% endfor %}{{ ns.s }}"
    messages = [{"role": "user" if i % 2 == 0 else "assistant", "content": "word " * 1000} for i in range(1000)]
    rendered = ChatTemplate(template).render(messages, adapt=False)
    assert len(rendered) > 5_000_000


def test_deep_values_are_refused() -> None:
    deep: Any = 1
    for _ in range(190):
        deep = [deep]
    assert outcome("{{ v | tojson | length }}", {"v": deep}) == str(190 * 2 + 1)
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(RecursionError, match="lies deeper than 200 levels"):
        outcome("{{ v }}", {"v": deep})


INTERRUPTED = """
import signal, sys, time
from tabagent import ChatTemplate

struck = []
def strike(*_):
    struck.append(time.perf_counter())
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, strike)
template = ChatTemplate({template!r})
long = {text!r} * 8_000_000
# What it needs is imported: a module that is interrupted while it begins is broken.
assert template.parse("x").content == "x"
signal.setitimer(signal.ITIMER_REAL, 0.05)
began = time.perf_counter()
try:
    {call}
except KeyboardInterrupt:
    print(struck[0] - began - 0.05, time.perf_counter() - struck[0])
assert template.parse("x").content == "x"
"""


@pytest.mark.parametrize(
    ("template", "text", "call"),
    [
        (BOMBS["range of ranges"], "", "template.render([])"),
        (BOMBS["range of ranges"], "", "template.render_segments([])"),
        ("{{ messages[0].content }}", "<a> {word} [x] ", "template.parse(long)"),
    ],
)
def test_ctrl_c_ends_long_work_soon(template: str, text: str, call: str) -> None:
    program = INTERRUPTED.format(template=template, text=text, call=call)
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    # On a quiet machine the signal is heard within 20 ms.
    heard, raised = map(float, done.stdout.split())
    assert heard < 0.5
    assert raised < 0.5

#!/usr/bin/env python3
"""Makes the reference values of the template language.

    python3 make_chat.py

needs transformers and jinja2.  chat/constructs.json: small templates, one
construct each, with what transformers' own environment makes of them, or
"error" where it refuses.  chat/templates.json: templates in the style of many
families of models, and conversations; expected is what apply_chat_template()
gives for them.  Every template here was written for this script.
"""
import json
import os

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = os.path.dirname(os.path.abspath(__file__))

VARIABLES = {
    "n": 7, "x": 2.5, "t": True, "f": False, "nothing": None, "s": "Hello",
    "empty": "", "text": "  Grüße, Welt!\n second line \n\nfourth  ",
    "words": ["pear", "Apple", "fig", "apple", "Pear"], "numbers": [3, 1, 2, 10],
    "none_list": [], "mixed": [1, "a", None, True, 2.0, [1, 2], {"k": "v"}],
    "d": {"b": 1, "a": 2, "C": 3}, "items_key": {"items": 5, "x y": "z"},
    "people": [{"name": "Ann", "age": 30, "tags": ["x", "y"]},
               {"name": "bob", "age": 25, "tags": []},
               {"name": "Cid", "age": 30, "tags": ["z"], "boss": {"name": "Ann"}}],
    "quote": "it's \"q\" \\ back\ttab", "unicode": "日本語 🚀 é", "html": "<a href='x'>&\"</a>",
    "big": 12345678901234, "tiny": 1e-7, "huge": 1e22, "third": 0.1, "neg": -3,
    "zero": 0, "price": 1234.5,
}

# ------------------------------------------------------------- constructs

SNIPPETS = r"""
{{ s }}|{{ n }}|{{ x }}|{{ t }}|{{ f }}|{{ nothing }}|{{ missing }}|
{{ mixed }}
{{ d }} {{ people[2] }}
{{ (1,) }} {{ (1, 2) }} {{ () }} {{ [] }} {{ {} }} {{ 1, 2 }}
{{ [quote, unicode, 'a\x00b', "tab\t", 'é\u2028'] }}
{{ big }} {{ tiny }} {{ huge }} {{ third }} {{ 1e16 }} {{ 1e15 }} {{ 123456.789 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1.0 }} {{ 100.0 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }}
{{ 0x1f }} {{ 0o17 }} {{ 0b101 }} {{ 1_000 }} {{ 1_0.5 }} {{ 2e3 }}
{{ 'a' 'b' "c" }} {{ 'it\'s' }} {{ "a\"b" }} {{ 'a\nb' }} {{ '\x41\u00e9\U0001F600\101' }} {{ 'a\qb' }}
{{ true }} {{ True }} {{ false }} {{ False }} {{ none }} {{ None }}
{{ 1 + 2 }} {{ 7 - 9 }} {{ 3 * 4 }} {{ 7 / 2 }} {{ 8 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }}
{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ 1.5 + 1 }} {{ 3 * 1.5 }} {{ true + 1 }} {{ 2 ** 3 ** 2 }}
{{ -n }} {{ +n }} {{ - -n }} {{ -x }} {{ -n ** 2 }} {{ 2 - -3 }} {{ not t }} {{ not not s }}
{{ 'a' + 'b' }} {{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ 'ab' * -1 }} {{ [1] + [2] }} {{ [0] * 3 }} {{ (1,) + (2,) }} {{ 1 ~ 2 ~ none ~ missing ~ 'x' ~ 1.0 }}
{{ '%s and %d' % ('a', 3) }} {{ '%s' % 5 }} {{ '%.2f' % x }} {{ '100%%' % () }} {{ '%s' % [1, 'a'] }} {{ '%r' % 'q' }}
{{ 1 < 2 }} {{ 2 <= 2 }} {{ 'a' < 'b' }} {{ 'B' < 'a' }} {{ 1 == 1.0 }} {{ '1' == 1 }} {{ t == 1 }} {{ [1, 2] == [1, 2] }} {{ [1] < [1, 2] }} {{ (1, 2) == [1, 2] }} {{ d == {'a': 2, 'b': 1, 'C': 3} }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 < 2 > 1 }} {{ 3 > 2 == true }}
{{ 'ell' in s }} {{ 'x' not in s }} {{ 1 in numbers }} {{ 'a' in d }} {{ 2 in d }} {{ none in mixed }} {{ '' in s }} {{ 3 in [] }} {{ 'a' in missing }}
{{ t and f }} {{ f or 'x' }} {{ '' or none }} {{ n and s }} {{ not f and t }} {{ missing or 'default' }} {{ none_list or [1] }}
{{ 'yes' if t else 'no' }} {{ 'yes' if f }} {{ 'a' if f else 'b' if f else 'c' }} {{ ('x' if t else 'y') ~ 'z' }}
{{ s[0] }} {{ s[-1] }} {{ s[10] }} {{ unicode[0] }} {{ unicode[4] }} {{ numbers[1] }} {{ numbers[-2] }} {{ numbers[99] }} {{ d['a'] }} {{ d.a }} {{ d['zz'] }} {{ d.zz }} {{ people[0].name }} {{ people.0.name }} {{ people[0]['tags'][1] }}
{{ s[1:] }} {{ s[:2] }} {{ s[1:3] }} {{ s[-3:] }} {{ s[:-1] }} {{ s[::2] }} {{ s[::-1] }} {{ unicode[2:5] }} {{ numbers[1:] }} {{ numbers[::-1] }} {{ numbers[:0] }} {{ numbers[5:] }} {{ numbers[-2:10] }} {{ numbers[3:0:-1] }} {{ numbers[-100:100:2] }} {{ (1,2,3)[1:] }} {{ numbers[none:2] }}
{{ items_key.items is callable }} {{ items_key.items() | list }}
{{ items_key['items'] }} {{ items_key['x y'] }} {{ items_key.get('items') }}
{{ missing.attribute }}
{{ missing['x'] }}
{{ missing() }}
{{ missing + 1 }}
{{ none.foo }} {{ s.foo }} {{ numbers.foo }} {{ d.foo is undefined }}
{{ none.foo.bar }}
{{ 1 + 'a' }}
{{ 'a' + 1 }}
{{ 1 < 'a' }}
{{ [1] + (2,) }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 2 ** 5000.5 }}
{{ 0 ** -1 }}
{{ 1 in 5 }}
{{ -s }}
{{ s() }}
{{ nothing | length }}
{{ numbers | length }} {{ s | count }} {{ unicode | length }} {{ d | length }} {{ missing | length }} {{ '' | length }}
{{ text | trim }}| {{ '..a..' | trim('.') }} {{ s | upper }} {{ s | lower }} {{ 'hello wORLD foo-bar (baz) it\'s' | title }} {{ 'hELLO wORLD' | capitalize }} {{ 'straße é' | upper }} {{ 5 | upper }} {{ missing | trim }}x
{{ missing | default('d') }} {{ nothing | default('d') }} {{ '' | default('d') }} {{ '' | default('d', true) }} {{ nothing | d('e', boolean=true) }} {{ missing | default }}| {{ n | default(1) }}
{{ words | join(', ') }} {{ numbers | join }} {{ mixed | join('-') }} {{ people | join(', ', attribute='name') }} {{ s | join('.') }} {{ [] | join(',') }}
{{ words | first }} {{ words | last }} {{ s | first }} {{ s | last }} {{ [] | first }}| {{ [] | last }}| {{ d | first }}
{{ 'a-b-c' | replace('-', '+') }} {{ 'aaa' | replace('a', 'b', 2) }} {{ 'abc' | replace('', '.') }} {{ 5 | replace(5, 6) }} {{ 'é' | replace('', '-') }}
{{ d | tojson }} {{ mixed | tojson }} {{ quote | tojson }} {{ unicode | tojson }} {{ html | tojson }} {{ x | tojson }} {{ none | tojson }} {{ true | tojson }} {{ 1e22 | tojson }} {{ 'a\u0001\x7f/' | tojson }} {{ {} | tojson }} {{ [] | tojson }} {{ (1, 2) | tojson }}
{{ people | tojson(indent=2) }}
{{ d | tojson(indent=4) }} {{ [] | tojson(indent=2) }} {{ [[], {}] | tojson(indent=1) }} {{ d | tojson(sort_keys=true) }} {{ d | tojson(separators=(',', ':')) }} {{ unicode | tojson(ensure_ascii=true) }} {{ {1: 2, none: 3, true: 4, 1.5: 6} | tojson }} {{ [1, 2] | tojson(indent=0) }} {{ [1] | tojson(indent='--') }}
{{ missing | tojson }}
{{ [missing] | tojson }}
{{ 'abc' | list }} {{ d | list }} {{ range(3) | list }} {{ (1, 2) | list }} {{ 5 | string }} {{ [1, 'a'] | string }} {{ missing | string }}|
{{ '42' | int }} {{ '42.9' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ 3.9 | int }} {{ -3.9 | int }} {{ true | int }} {{ ' 7 ' | int }} {{ '1e3' | int }} {{ none | int }} {{ [] | int }}
{{ '4.5' | float }} {{ 'x' | float }} {{ 'x' | float(1.5) }} {{ 3 | float }} {{ none | float }} {{ '1e400' | float }} {{ 'nan' | float }}
{{ missing | int }}
{{ -5 | abs }} {{ (-5) | abs }} {{ -2.5 | abs }} {{ neg | abs }}
{{ 2.5 | round }} {{ 3.5 | round }} {{ 2.567 | round(2) }} {{ 2.1 | round(method='ceil') }} {{ 2.9 | round(0, 'floor') }} {{ 5 | round }} {{ 2.675 | round(2) }} {{ 1234.5 | round(-2) }} {{ 42.55 | round(1, 'floor') }}
{{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ numbers | sort }} {{ numbers | sort(reverse=true) }} {{ people | sort(attribute='age') | map(attribute='name') | list }} {{ people | sort(attribute='age,name', reverse=true) | map(attribute='name') | join(',') }} {{ words | sort(true) }}
{{ [1, 'a'] | sort }}
{{ words | unique | list }} {{ words | unique(case_sensitive=true) | list }} {{ people | unique(attribute='age') | map(attribute='name') | list }}
{{ numbers | reverse | list }} {{ s | reverse }} {{ unicode | reverse }}
{{ people | map(attribute='name') | list }} {{ people | map(attribute='boss.name', default='-') | list }} {{ people | map(attribute='tags.0') | list }} {{ words | map('upper') | list }} {{ words | map('replace', 'p', 'P') | join(' ') }} {{ numbers | map('string') | list }} {{ none_list | map('upper') | list }}
{{ people | selectattr('boss') | map(attribute='name') | list }} {{ people | selectattr('age', 'equalto', 30) | map(attribute='name') | list }} {{ people | rejectattr('age', '==', 30) | map(attribute='name') | list }} {{ people | selectattr('boss', 'defined') | list | length }} {{ people | rejectattr('tags') | list | length }} {{ people | selectattr('name', 'in', ['Ann', 'bob']) | list | length }}
{{ numbers | select('odd') | list }} {{ numbers | reject('gt', 2) | list }} {{ mixed | select('string') | list }} {{ mixed | select | list }} {{ numbers | select('divisibleby', 2) | list }} {{ mixed | reject('none') | list | length }}
{{ numbers | select('nosuch') | list }}
{{ numbers | map('nosuch') | list }}
{{ numbers | map | list }}
{{ 'yes' if (numbers | select('gt', 100)) else 'no' }} {{ 'yes' if (numbers | select('gt', 100) | list) else 'no' }}
{{ numbers | select('odd') | length }}
{{ 0 | select('odd') | list }} {{ false | map('upper') | list }} {{ none | selectattr('a') | list }} {{ '' | rejectattr('a') | list }} {{ none | map(attribute='a') | list | length }}
{{ 1 | select('odd') | list }}
{{ n[1:] }}
{{ missing[1:] }}
{{ 'a_b c-d 3.5 é' | wordcount }} {{ '' % [1] }} {{ '' % missing }} {{ range(3).count(1) }} {{ range(3).index(2) }} {{ missing is callable }}
{{ 'x' % (1, 2) }}
{{ d | items | list }} {{ missing | items | list }} {{ d | dictsort }} {{ d | dictsort(true) }} {{ d | dictsort(by='value') }} {{ d | dictsort(reverse=true) }}
{{ 5 | items | list }}
{{ d.items() }} {{ d.keys() }} {{ d.values() }} {{ d.items() | list }} {{ d.get('a') }} {{ d.get('zz') }} {{ d.get('zz', 5) }} {{ d.keys() | list }} {{ d.values() | sum }} {{ d.items() | length }}
{{ text | indent }}| {{ 'a\nb\n\nc' | indent(2) }} {{ 'a\nb' | indent(2, true) }} {{ 'a\n\nb' | indent(3, blank=true) }} {{ 'a\nb' | indent('> ') }} {{ '' | indent }}|
{{ html | escape }} {{ html | e }} {{ html | safe }} {{ 5 | e }}
{{ numbers | min }} {{ numbers | max }} {{ words | min }} {{ words | max }} {{ people | max(attribute='age') | tojson }} {{ [] | min }}|
{{ numbers | sum }} {{ people | sum(attribute='age') }} {{ numbers | sum(start=100) }} {{ [[1], [2]] | sum(start=[]) }} {{ [] | sum }}
{{ ['a'] | sum }}
{{ numbers | batch(3) | list }} {{ numbers | batch(3, 'x') | list }}
{{ people | groupby('age') | length }} {% for age, group in people | groupby('age') %}{{ age }}:{{ group | map(attribute='name') | join('+') }} {% endfor %}
{{ '%s-%s' | format('a', 2) }} {{ 'one two  three' | wordcount }} {{ d | attr('keys') is callable }} {{ d | attr('a') is undefined }}
{{ s | nosuch }}
{% if false %}{{ s | nosuch }}{% endif %}fine
{{ s is nosuch }}
{{ missing is defined }} {{ s is defined }} {{ missing is undefined }} {{ nothing is none }} {{ missing is none }} {{ s is not none }} {{ s is string }} {{ n is string }} {{ d is mapping }} {{ numbers is mapping }}
{{ numbers is sequence }} {{ s is sequence }} {{ d is sequence }} {{ n is sequence }} {{ missing is sequence }} {{ numbers is iterable }} {{ n is iterable }} {{ s is iterable }} {{ missing is iterable }} {{ d.items() is iterable }} {{ d.items() is sequence }} {{ (numbers | map('string')) is iterable }}
{{ n is number }} {{ x is number }} {{ t is number }} {{ s is number }} {{ n is integer }} {{ x is integer }} {{ t is integer }} {{ x is float }} {{ t is boolean }} {{ n is boolean }} {{ t is true }} {{ 1 is true }} {{ f is false }} {{ zero is false }}
{{ n is odd }} {{ n is even }} {{ neg is odd }} {{ 10 is divisibleby(5) }} {{ 10 is divisibleby 3 }} {{ n is eq 7 }} {{ n is equalto(7) }} {{ n is ne 7 }} {{ n is lt 8 }} {{ n is gt 8 }} {{ n is ge 7 }} {{ n is le 6 }} {{ 1 is in [1, 2] }} {{ 3 is not in [1, 2] }} {{ 'a' is in 'abc' }}
{{ range is callable }} {{ s.upper is callable }} {{ s is callable }} {{ s is lower }} {{ 'abc' is lower }} {{ 'ABC' is upper }} {{ '12' is lower }} {{ none is sameas none }} {{ 'upper' is filter }} {{ 'nosuch' is filter }} {{ 'odd' is test }}
{{ s is odd }}
{{ not s is string }} {{ s is string and n is number }} {{ s is string or missing.x }} {{ (s is string) == true }} {{ s is defined and s }} {{ (n is odd) if t else 5 }}
{{ n is odd if t else 5 }}
{{ .5 }}
{{ '  a b  '.strip() }}| {{ '  a '.lstrip() }}| {{ '  a '.rstrip() }}| {{ 'xxaxx'.strip('x') }} {{ 'abcba'.strip('ab') }} {{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c'.split(none, 1) }} {{ ' a b  c '.rsplit(none, 1) }} {{ 'a.b.c'.rsplit('.', 1) }} {{ ''.split(',') }} {{ ''.split() }} {{ 'a b c'.split(maxsplit=1) }} {{ 'aXXbXX'.split('XX') }}
{{ 'a\nb\r\nc\n'.splitlines() }} {{ 'a\nb'.splitlines(true) }} {{ 'abc'.startswith('ab') }} {{ 'abc'.endswith('bc') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('') }} {{ 'aBc'.upper() }} {{ 'aBc'.lower() }} {{ "they're bill's friends 3rd".title() }} {{ 'aBC'.capitalize() }} {{ 'abab'.replace('a', 'x') }} {{ 'abab'.replace('a', 'x', 1) }} {{ ', '.join(['a', 'b']) }} {{ 'abcabc'.find('c') }} {{ 'abc'.find('z') }} {{ 'abcabc'.rfind('c') }} {{ 'éab'.find('b') }} {{ 'abcabc'.count('bc') }} {{ 'aaa'.count('') }} {{ 'abc'.index('c') }}
{{ 'a-b-c'.partition('-') }} {{ 'abc'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.rpartition('-') }} {{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }} {{ '12'.isdigit() }} {{ 'ab1'.isalpha() }} {{ 'ab1'.isalnum() }} {{ ' \t'.isspace() }} {{ 'AB'.isupper() }} {{ ''.isdigit() }}
{{ '{} and {}'.format('a', 2) }} {{ '{1}{0}'.format('a', 'b') }} {{ '{x}'.format(x=5) }} {{ '{{}}'.format() }}
{{ ', '.join([1]) }}
{{ 'a'.split('') }}
{{ 'abc'.index('z') }}
{{ numbers.index(2) }} {{ numbers.count(3) }} {{ (1, 2).index(2) }}
{{ numbers.append(4) }}
{{ d.update({}) }}
{{ s.__class__ }}
{{ d.a.b.c }}
{{ range(5) | list }} {{ range(2, 5) | list }} {{ range(10, 0, -3) | list }} {{ range(3) }} {{ range(1, 9, 2) }} {{ range(5)[2] }} {{ range(5) | length }} {{ range(0) | list }} {{ range(2) == [0, 1] }}
{{ range(1000000) | list }}
{{ range() }}
{{ range(1, 2, 0) }}
{{ dict(a=1, b=2) }} {{ dict({'x': 1}, y=2) }} {{ dict([('k', 'v')]) }}
{% set ns = namespace(a=1, b='x') %}{{ ns.a }}{% set ns.a = ns.a + 1 %}{{ ns.a }}{{ ns.b }}{% set ns.c = [1] %}{{ ns.c }}{{ ns.zz }}|
{% set x = 1 %}{% set x.y = 2 %}
{% set ns = namespace() %}{% for i in [1, 2, 3] %}{% set ns.last = i %}{% endfor %}{{ ns.last }}
{% set ns = namespace({'q': 1}) %}{{ ns.q }} {{ ns['q'] }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set j = joiner('|') %}{{ j() }}1{{ j() }}2{{ j() }}3
{{ raise_exception('no way: ' + s) }}
{% for i in numbers %}{{ i }}{% if not loop.last %}, {% endif %}{% endfor %}
{% for i in numbers %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}
{% for i in numbers %}[{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }}]{{ loop.cycle('a', 'b') }}{{ loop.previtem is defined }}{% endfor %}
{% for i in numbers %}{% for j in [1, 2] %}{{ loop.index }}{{ loop.depth }}{% endfor %}{{ loop.index }} {% endfor %}
{% for p in people if p.age == 30 %}{{ p.name }}{{ loop.index }}/{{ loop.length }} {% endfor %}
{% for p in people if p.age > 99 %}x{% else %}none found{% endfor %}
{% for i in [] %}x{% else %}empty{% endfor %} {% for i in missing %}x{% else %}undefined{% endfor %}
{% for i in nothing %}x{% endfor %}
{% for i in 5 %}x{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for a, b in [[1, 2], (3, 4)] %}{{ a }}{{ b }}{% endfor %}{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for a, b in [[1]] %}x{% endfor %}
{% for a, b in [[1, 2, 3]] %}x{% endfor %}
{% for c in 'añ🚀' %}{{ c }}.{% endfor %}{% for i in 1, 2 %}{{ i }}{% endfor %}{% for i in range(3) %}{{ i }}{% endfor %}
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for i in [1, 1, 2, 2] %}{{ loop.changed(i) }} {% endfor %}
{% set y = 1 %}{% for i in [1, 2] %}{{ y }}{% set y = y + i %}{{ y }};{% endfor %}{{ y }}
{% if t %}{% set z = 5 %}{% endif %}{{ z }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = 1, 2 %}{{ c }}{% set (p, q) = [3, 4] %}{{ p }}{{ q }}
{% set block %}a {{ s }} b{% endset %}[{{ block }}]{{ block | length }}{% set up | upper %}x{{ s }}{% endset %}{{ up }}
{% set q | trim | replace('a', 'b') %}  banana {% endset %}[{{ q }}]
{% if n > 5 %}big{% elif n > 3 %}middle{% else %}small{% endif %}{% if f %}a{% elif t %}b{% elif t %}c{% endif %}{% if missing %}x{% endif %}{% if not missing %}y{% endif %}{% if none_list %}z{% else %}w{% endif %}
{% macro m(a, b=2, c='x') %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c='z') }}{{ m() }}{{ m(b=5, a=4) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(zz=2) }}
{% macro fact(k) %}{% if k <= 1 %}1{% else %}{{ k * (fact(k - 1) | int) }}{% endif %}{% endmacro %}{{ fact(10) }}
{% macro m() %}{{ later }}{% endmacro %}{% set later = 5 %}{{ m() }}{{ m() | length }}
{% macro outer(a) %}{% macro inner(b) %}{{ a }}{{ b }}{% endmacro %}{{ inner(2) }}{% endmacro %}{{ outer(1) }}
{% macro list_of(items, sep=', ') %}{% for i in items %}{{ i }}{{ sep if not loop.last }}{% endfor %}{% endmacro %}{{ list_of(words) }} {{ list_of(numbers, sep='/') }}
{% macro wrap(tag) %}<{{ tag }}>{{ caller() }}</{{ tag }}>{% endmacro %}{% call wrap('b') %}in{{ s }}{% endcall %}
{% macro each(list) %}{% for i in list %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(x) each(numbers) %}({{ x }}){% endcall %}
{% macro d1(a=n + 1, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ d1() }}{{ d1(1) }}
{% filter upper %}abc {{ s }}{% endfilter %}{% filter trim | replace('b', 'c') %}  abc  {% endfilter %}
{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}|{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}
{% generation %}said {{ s }}{% set g = 1 %}{% endgeneration %}{{ g }}|
{# a comment #}a{#- b -#} c {# multi
line #}d
{% raw %}{{ not }} {% this %}{% endraw %}x {%- raw -%}  a {{ b }} {%- endraw -%}  y
{{ "{{" }} {{ '}}' }} {{ {'a': {'b': 1}} }} {{ {'a': {'b': 1}}['a']['b'] }}
{{- s -}}  x  {{- n }}  y  {{ n -}}  z
{% if t -%}  a  {%- endif %}|  {%- if t %} b {% endif -%}  |
{{ s.upper().lower()[1:3] | upper ~ 'x' }} {{ (s ~ s) | length }} {{ s | upper | lower | length + 1 }} {{ [1, 2, 3][1] }} {{ {'a': 1}.a }} {{ 'abc'[1] }} {{ (1, 2)[0] }}
{{ n|string + 'a' }} {{ -n|abs }} {{ 1 + 2 ~ 3 }} {{ 'a' if n == 7 and s != '' or f else 'b' }} {{ n in [7] and n is odd }}
{{ [1, 2, 3,] }} {{ {'a': 1,} }} {{ (1, 2,) }} {{ [[1, [2]], {'a': []}] }} {{ {1: 'x', 'b': 2}[1] }} {{ {'a': 1, 'a': 2} }} {{ {} == {} }}
{{ {[1]: 2} }}
{{ 1 if }}
{{ }}
{{ 1 +
{% if t %}
{% endif %}
{% for x in %}{% endfor %}
{% unknown %}
{% for i in [1] %}{% endif %}
{{ 'abc }}
{{ a b }}
{{ [1, 2 }}
{{ (1 }}
{{ ) }}
{# no end
{% raw %} no end
{{ $ }}
{% break %}
{{ 1 is is }}
{% set %}
{% set 5 = 1 %}
{% set true = 1 %}
{% macro 5() %}{% endmacro %}
{{ f(x for x in y) }}
{% macro m(a, b=2, c=3) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(*[1, 5]) }} {{ m(**{'a': 7, 'c': 8}) }} {{ m(1, *(4, 6)) }} {{ dict(d, **{'q': 1}) }} {{ '{} {}'.format(*numbers) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(**[1]) }}
{% for p in [{'n': 1, 'kids': [{'n': 2, 'kids': []}, {'n': 3, 'kids': [{'n': 4, 'kids': []}]}]}] recursive %}[{{ p.n }}/{{ loop.depth }}{{ loop(p.kids) }}]{% endfor %}
{% for p in [1] %}{{ loop([2]) }}{% endfor %}
{% for p in numbers if p > 1 recursive %}{{ p }}{% if loop.first %}({{ loop([1, 7, 8]) }}){% endif %}{% endfor %}
"""

LAYOUTS = [
    "a\n{% if t %}\nb\n{% endif %}\nc\n",
    "a\n  {% if t %}\n  b\n  {% endif %}\nc",
    "  {{ s }}\n  {{ n }}\n",
    "{% if t %}  \n x\n{% endif %}\n\n",
    "x  {% if t %}y{% endif %}  z\n",
    "a\n  {%+ if t %}\nb\n  {% endif +%}\nc",
    "a\n  {#- c -#}  \nb {# d #}\n  {# e #}\nf",
    "a\n\t {% set q = 1 %}\t\n b",
    "{%- for i in [1, 2] -%}\n  {{ i }}\n{%- endfor -%}\n tail \n",
    "{% for i in [1, 2] %}\n  line {{ i }}\n{% endfor %}\nend",
    "a\r\nb\rc{{ '\r\n' | length }}\r\n{% if t %}\r\nd{% endif %}",
    "no newline at end", "one newline\n", "two newlines\n\n", "", "\n",
    "{{ s }}\n", "{% if t %}x{% endif %}\n", "{% if t %}x{% endif %}\n\n",
    "{{ s -}}\n\n  a", "a \n\n {{- s }}", "a\n {{ s }}\n {%- if t %} b{% endif %}",
    "{% set a = 1 %}   {% set b = 2 %}\n{{ a }}{{ b }}",
    "\u00a0{%- if t -%}\u2003x\u00a0{%- endif -%}\u3000",
    "{% raw %}\n a {% endraw %}\n b", "  {% raw %}x{% endraw %}\ny",
    "{#\n#}\nx", "a{#+ b +#}\nc", "  {#+ b #}\nc", "{{s}}{{n}}{%if t%}q{%endif%}",
    "x{%if t\n and\n\n t%}\ny{%endif\n%}z", "{{ 'a\nb' }}", "{ {x} % } # {",
]


def render(template, variables):
    try:
        return {"text": _compile_jinja_template(template).render(**variables)}
    except Exception as error:  # whatever jinja2 or Python raises
        return {"error": f"{type(error).__name__}: {error}"}


def constructs():
    lines = [line for line in SNIPPETS.split("\n") if line.strip()]
    joined, rows = [], []
    for line in lines:  # a few snippets have a line break in them
        if joined and joined[-1].count("{#") > joined[-1].count("#}") and "multi" in joined[-1]:
            joined[-1] += "\n" + line
        else:
            joined.append(line)
    for template in joined + LAYOUTS:
        rows.append({"template": template, **render(template, VARIABLES)})
    return {"variables": VARIABLES, "cases": rows}


# -------------------------------------------------------------- templates

TEMPLATES = {
    "chatml": """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
""",
    "headers": """{{- bos_token }}
{%- set date = date_string if date_string is defined else 'today' %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_text = messages[0]['content'] | trim %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set system_text = '' %}
    {%- set turns = messages %}
{%- endif %}
{{- '<|head|>system<|/head|>\\n\\nDate: ' ~ date ~ '\\n\\n' ~ system_text ~ '<|end|>' }}
{%- for turn in turns %}
    {%- if not (turn.role == 'tool' or 'tool_calls' in turn) %}
        {{- '<|head|>' + turn['role'] + '<|/head|>\\n\\n' + turn['content'] | trim + '<|end|>' }}
    {%- elif 'tool_calls' in turn %}
        {%- if not turn.tool_calls | length == 1 %}
            {{- raise_exception('only one call at a time') }}
        {%- endif %}
        {%- set call = turn.tool_calls[0].function %}
        {{- '<|head|>assistant<|/head|>\\n\\n' }}
        {{- '{"name": "' + call.name + '", "parameters": ' + call.arguments | tojson + '}<|end|>' }}
    {%- else %}
        {{- '<|head|>result<|/head|>\\n\\n' + turn.content | tojson + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\\n\\n' }}{% endif %}""",
    "inst": """{%- if messages[0].role == "system" %}{% set system = messages[0].content %}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif -%}
{{ bos_token }}
{%- for message in rest %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('roles must alternate user/assistant, not ' ~ message.role) }}
{%- endif %}
{%- if message.role == 'user' %}
{%- if loop.last and system is defined %}{{ '[INST] ' + system + '\\n\\n' + message.content + '[/INST]' }}
{%- else %}{{ '[INST] ' + message.content + '[/INST]' }}{% endif %}
{%- elif message.role == 'assistant' %}{{ ' ' + message.content | trim + eos_token }}
{%- else %}{{ raise_exception('unknown role: ' + message.role) }}{% endif %}
{%- endfor %}
""",
    "zephyr": """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}""",
    "turns": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}{{ '<start>' + role + '\\n' + message['content'] | trim + '<end>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start>model\\n'}}{% endif %}""",
    "thinking": """{%- set ns = namespace(last_user=-1, any_tool=false) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{% set ns.last_user = loop.index0 %}{% endif %}
    {%- if message.role == 'tool' %}{% set ns.any_tool = true %}{% endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'assistant' %}
        {%- set thoughts = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set thoughts = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_user and (loop.last or thoughts) %}
            {{- '<|a|><think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|a|>' + content }}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n<call>\\n{"name": "' ~ call.function.name ~ '", "arguments": ' }}
            {%- if call.function.arguments is string %}{{ call.function.arguments }}{% else %}{{ call.function.arguments | tojson }}{% endif %}
            {{- '}\\n</call>' }}
        {%- endfor %}
        {{- '<|e|>\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|u|>' }}{% endif %}
        {{- '\\n<result>\\n' + content + '\\n</result>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|e|>\\n' }}{% endif %}
    {%- else %}
        {{- '<|' + message.role[0] + '|>' + content + '<|e|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|a|>' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}""",
    "tools": """{%- macro type_of(spec) -%}
{%- if spec.type == 'array' -%}{{ type_of(spec['items']) }}[]
{%- elif spec.enum is defined -%}{{ spec.enum | map('tojson') | join(' | ') }}
{%- elif spec.type is sequence and spec.type is not string -%}{{ spec.type | join(' or ') }}
{%- else -%}{{ spec.type }}{%- endif -%}
{%- endmacro -%}
{%- macro describe(tool) %}
{{ tool.name }}({% for name, spec in tool.parameters.properties.items() %}{{ name }}{% if name not in tool.parameters.required | default([]) %}?{% endif %}: {{ type_of(spec) }}{{ ', ' if not loop.last }}{% endfor %}) -- {{ tool.description | default('no description', true) | capitalize }}
{%- endmacro %}
{{- bos_token }}
{%- if tools is not none and tools %}{{ 'Tools:' }}{% for tool in tools %}{{ describe(tool.function) }}{% endfor %}{% endif %}
{%- for message in messages %}
{%- if message.content is string %}{% set content = message.content %}
{%- else %}{% set content %}{% for part in message.content if part.type == 'text' %}{{ part.text }}{% if not loop.last %}
{% endif %}{% endfor %}{% endset %}{% endif %}
{{- '\\n' ~ message.role | upper ~ ': ' ~ content }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '\\nASSISTANT:' }}{% endif %}""",
    "generation": """{%- for message in messages %}{% if message.role == 'assistant' %}{{ '<a>' }}{% generation %}{{ message.content + eos_token }}{% endgeneration %}{% else %}{{ '<' + message.role + '>' + message.content }}{% endif %}{% endfor %}{{ '<a>' if add_generation_prompt }}""",
    "counted": """{% set total = messages | length %}{% for m in messages %}{{ '%d/%d ' % (loop.index, total) }}{{ m.role.title() }} ({{ m.content | length }}): {{ m.content.split() | join(' ') }}
{% endfor %}{{ unk_token }}{{ pad_token }}{{ sep_token | default('no sep') }}""",
}


def conversations():
    user, assistant, system = (
        lambda role: lambda text: {"role": role, "content": text})("user"), \
        (lambda text: {"role": "assistant", "content": text}), \
        (lambda text: {"role": "system", "content": text})
    call = {"role": "assistant", "content": "", "tool_calls": [
        {"type": "function", "function": {
            "name": "weather", "arguments": {"city": "Köln", "days": 2, "exact": True, "unit": None}}}]}
    result = {"role": "tool", "name": "weather", "content": "{\"rain\": 0.5}"}
    yield [user("Hello?")]
    yield [system("Be brief."), user("  What is\n2 + 2? "), assistant(" 4\n"), user("Grüße 🚀")]
    yield [user("a"), assistant("b")]
    yield [user("a"), user("b")]
    yield [assistant("first")]
    yield [user(""), assistant(""), user("{{ not }} {% a %} template \\n")]
    yield [user("weather?"), call, result, assistant("It rains."), user("thanks")]
    yield [system("s"), user("q"), assistant("<think>\nhm\n</think>\n\nanswer"), user("again"),
           assistant("<think>\nso\n</think>\n\nlast")]
    yield [user("q"), {"role": "assistant", "content": "c", "reasoning_content": "why"}]
    yield [user("q"), {"role": "assistant", "content": "c", "thinking": "old name"}]
    yield [{"role": "robot", "content": "x"}]
    yield [{"role": "user", "content": [{"type": "text", "text": "part one"}, {"type": "image"},
                                        {"type": "text", "text": "part two"}]}]


def templates():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), bos_token="<s>", eos_token="</s>",
        unk_token="<unk>", pad_token="<pad>")
    rows = []
    for name, template in TEMPLATES.items():
        for messages in conversations():
            for add in (False, True):
                try:
                    made = {"text": tokenizer.apply_chat_template(
                        messages, chat_template=template, tokenize=False,
                        add_generation_prompt=add)}
                except Exception as error:
                    made = {"error": str(error)}
                rows.append({"name": name, "messages": messages,
                             "add_generation_prompt": add, **made})
    return {"templates": TEMPLATES, "special": tokenizer.special_tokens_map,
            "cases": rows}


def write(name, value):
    path = os.path.join(HERE, "chat", name)
    with open(path, "w", encoding="utf-8") as out:
        json.dump(value, out, ensure_ascii=False, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    write("constructs.json", constructs())
    write("templates.json", templates())

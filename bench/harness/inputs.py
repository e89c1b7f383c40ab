"""Input for the real programs: generated, never stored, and the same on every machine and day."""
import json
import random

_LETTERS = 'abcdefghijklmnopqrstuvwxyz'


def _word(chance):
    return ''.join(chance.choices(_LETTERS, k=chance.randrange(3, 12)))


def records_json(path, count):
    """For jq: a list of `count` records of about 400 bytes."""
    chance = random.Random('records')
    cities = [_word(chance) for _ in range(50)]
    tags = [_word(chance) for _ in range(200)]
    records = [{
        'id': number,
        'name': f'{_word(chance)} {_word(chance)}',
        'city': chance.choice(cities),
        'tags': chance.sample(tags, 5),
        'orders': [{'item': _word(chance), 'price': chance.randrange(1, 5000), 'note': _word(chance)}
                   for _ in range(chance.randrange(1, 8))],
    } for number in range(count)]
    path.write_text(json.dumps(records))


def script_sql(path, rows):
    """For sqlite3: a table filled in SQL itself, indexes, joins, text functions, updates and a scattered delete."""
    path.write_text(f'''
CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, city INTEGER, note TEXT);
CREATE TABLE payment(person INTEGER, amount INTEGER, reason TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
INSERT INTO person
    SELECT i, 'name' || (i * 7919 % {rows}), i * 31 % 97, substr(hex(i * 2654435761), 1, 5 + i % 60) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows * 2})
INSERT INTO payment SELECT i * 7 % {rows} + 1, i * 13 % 1000, 'reason ' || (i % 500) FROM n;
COMMIT;
CREATE INDEX person_city ON person(city, name);
CREATE INDEX payment_person ON payment(person);
SELECT city, count(*), sum(amount), max(reason) FROM person JOIN payment ON payment.person = person.id
    GROUP BY city ORDER BY sum(amount) DESC LIMIT 20;
SELECT substr(note, 1, 2) AS start, count(*), group_concat(DISTINCT city) FROM person
    GROUP BY start ORDER BY start LIMIT 50;
UPDATE person SET note = note || upper(name) WHERE id % 3 = 0;
DELETE FROM payment WHERE amount % 4 <> 0;
SELECT count(*), sum(length(note)), (SELECT count(*) FROM payment) FROM person;
SELECT name FROM person WHERE note LIKE '%NAME1%' ORDER BY note DESC LIMIT 20;
''')


def source_c(path, functions):
    """For cc1: preprocessed C with structs, loops, switches and calls, about 30 lines a function."""
    chance = random.Random('source')
    parts = ['typedef unsigned long size_t;\nstruct item { int key; long weight; struct item *next; char text[16]; };\n'
             'extern int table[1024];\nextern double scale[256];\nextern struct item *item_find(int key);\n']
    parts += [_function_c(chance, number) for number in range(functions)]
    path.write_text('\n'.join(parts))


def _expression_c(chance, names, levels):
    if levels == 0 or chance.random() < 0.2:
        return chance.choice([*names, str(chance.randrange(1, 1000))])
    left, right = (_expression_c(chance, names, levels - 1) for _ in range(2))
    return f'({left} {chance.choice(["+", "-", "*", "^", "&", "|"])} {right})'


def _function_c(chance, number):
    names = ['first', 'second', 'sum', 'step']

    def expression(levels=3):
        return _expression_c(chance, names, levels)

    calls = f'sum += work_{chance.randrange(number)}(sum, step);' if number else ''
    cases = '\n'.join(f'    case {case}: sum += {expression()}; break;' for case in range(chance.randrange(3, 9)))
    return f'''
int work_{number}(int first, int second) {{
    int sum = 1, step = 2;
    sum = {expression()};
    struct item *item = item_find(first);
    for (step = 0; step < {chance.randrange(10, 100)}; step++) {{
        table[(unsigned)({expression()}) % 1024] += {expression()};
        scale[step & 255] = scale[(step + {chance.randrange(255)}) & 255] * 1.5 + (double)({expression(2)});
        if ({expression()} > {expression(2)}) {{
            sum = {expression(4)};
            {calls}
        }}
    }}
    while (item && item->key != {chance.randrange(1000)}) {{
        item->weight += {expression()};
        item->text[step & 15] = (char)({expression(2)});
        item = item->next;
    }}
    switch ((unsigned)sum % {chance.randrange(9, 20)}) {{
{cases}
    default: sum -= {expression()};
    }}
    return sum ^ ({expression(4)});
}}'''

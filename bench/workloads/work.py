"""What a Python service does all day, without waiting: JSON in and out, dictionaries, strings, instances, sorting.

    python3 work.py ROUNDS      prints one digest, the same in every run
"""
import collections
import hashlib
import json
import random
import re
import sys

RECORDS = 6000


class Account:
    def __init__(self, record):
        self.name = record['name']
        self.tags = tuple(record['tags'])
        self.balance = sum(entry['amount'] for entry in record['entries'])
        self.notes = [entry['note'] for entry in record['entries']]

    def key(self):
        return (-self.balance, self.name)


def word_make(chance):
    return ''.join(chance.choice('abcdefghijklmnoprstuvw') for _ in range(chance.randrange(3, 12)))


def records_make(chance, words):
    for number in range(RECORDS):
        yield {
            'name': f'{chance.choice(words)}-{number}',
            'tags': chance.sample(words, 4),
            'entries': [{'amount': chance.randrange(10_000), 'note': ' '.join(chance.choices(words, k=5))}
                        for _ in range(chance.randrange(1, 8))],
        }


def index_make(accounts):
    index = collections.defaultdict(set)
    for account in accounts:
        for note in account.notes:
            for word in re.findall(r'[a-z]+', note):
                index[word].add(account.name)
    return index


def round_run(chance, words, digest):
    text = json.dumps(list(records_make(chance, words)))
    accounts = [Account(record) for record in json.loads(text)]
    index = index_make(accounts)
    by_tag = collections.Counter(tag for account in accounts for tag in account.tags)
    lines = [f'{account.name}\t{account.balance:>8}\t{"/".join(account.tags)}'
             for account in sorted(accounts, key=Account.key)]
    digest.update('\n'.join(lines).encode())
    digest.update(repr(sorted((word, len(names)) for word, names in index.items())).encode())
    digest.update(repr(by_tag.most_common(50)).encode())
    return index


def main():
    chance = random.Random(0)
    words = sorted({word_make(chance) for _ in range(5000)})
    digest = hashlib.sha256()
    kept = [round_run(chance, words, digest) for _ in range(int(sys.argv[1]))]
    print(digest.hexdigest(), len(kept))


main()

#!/usr/bin/env python3
"""test_profile_cost.py BENCH - the estimates of bench/profile_cost, from runs whose cost is known."""

import importlib.machinery
import importlib.util
import pathlib
import random
import statistics
import sys
import unittest

BENCH = pathlib.Path(sys.argv.pop(1))
sys.path.insert(0, str(BENCH))
loader = importlib.machinery.SourceFileLoader('profile_cost', str(BENCH / 'profile_cost'))
profile_cost = importlib.util.module_from_spec(importlib.util.spec_from_loader('profile_cost', loader))
sys.modules['profile_cost'] = profile_cost    # where its dataclasses look for their types
loader.exec_module(profile_cost)

COSTS = {'none': 1, 'again': 1, 'snapshots': 1.01, 'profile': 1.02}


def runs_make(chance, rounds):
    """Runs that are 5 % apart."""
    return {name: [{'cpu_ns': 1e7 * cost * chance.gauss(1, 0.05)} for _ in range(rounds)] for name, cost in COSTS.items()}


class Estimates(unittest.TestCase):
    def test_the_cost_is_found_and_the_interval_holds_it_as_often_as_it_says(self):
        chance = random.Random(1)
        costs = {column: COSTS[above] / COSTS[below] for column, (above, below) in profile_cost.COLUMNS.items()}
        held = dict.fromkeys(costs, 0)
        errors = []
        for _ in range(60):
            found = profile_cost.estimates_make(runs_make(chance, 60), chance)
            for name, estimate in found.items():
                values = sorted(estimate.resampled)
                held[name] += values[9] <= costs[name] <= values[-10]
                errors.append(estimate.value - costs[name])
        self.assertLess(abs(statistics.mean(errors)), 0.005)
        for name, count in held.items():
            self.assertGreaterEqual(count, 51, name)    # 57 are expected; three standard errors fewer

    def test_the_median_over_benchmarks_is_surer_than_one_benchmark(self):
        chance = random.Random(2)
        rows = [profile_cost.estimates_make(runs_make(chance, 20), chance)['with a profile'] for _ in range(25)]
        widths = [statistics.stdev(row.resampled) for row in rows]
        together = profile_cost.median_of(rows)
        self.assertAlmostEqual(together.value, 1.02, delta=0.02)
        self.assertLess(statistics.stdev(together.resampled), statistics.median(widths) / 2)

    def test_a_profile_is_compared_with_none_and_with_snapshots_alone(self):
        runs = {name: [{'cpu_ns': 1e7 * cost}] * 3 for name, cost in COSTS.items()}
        found = profile_cost.estimates_make(runs, random.Random(4))
        self.assertAlmostEqual(found['with a profile'].value, 1.02)
        self.assertAlmostEqual(found['profile on over off'].value, 1.02 / 1.01)

    def test_an_exact_figure_has_no_interval(self):
        self.assertEqual(profile_cost.estimate_text(profile_cost.Estimate(1.25)), '1.2500')
        self.assertEqual(profile_cost.median_of([profile_cost.Estimate(value) for value in (1, 2, 9)]).resampled, [])


class Turns(unittest.TestCase):
    def turns(self, rounds, seconds, seed=3):
        settings = profile_cost.Settings(rounds, seconds, 1, random.Random(seed))
        return profile_cost.turns_shuffled(list(COSTS), settings)

    def test_each_round_has_each_arm_once_in_an_order_of_its_own(self):
        turns = list(self.turns(200, 0))
        self.assertEqual([counts for counts, _ in turns], [False] + [True] * 200)
        self.assertTrue(all(sorted(order) == sorted(COSTS) for _, order in turns))
        behind = [order.index('none') > order.index('profile') for _, order in turns]
        self.assertTrue(70 < sum(behind) < 130, behind)    # as often behind it as before it

    def test_a_seed_replays_the_order(self):
        self.assertEqual(list(self.turns(20, 0)), list(self.turns(20, 0)))
        self.assertNotEqual(list(self.turns(20, 0)), list(self.turns(20, 0, seed=4)))

    def test_there_are_more_rounds_while_there_is_time(self):
        self.assertGreater(len(list(self.turns(1, 0.05))), 100)


if __name__ == '__main__':
    unittest.main(verbosity=2)

// tools/statistics.c - see statistics.h for the methods and where they are from.
#include "statistics.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int double_order(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double sorted_median(const double *sorted, int count)
{
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

double statistics_median(values_t values)
{
    double sorted[STATISTICS_RUNS_MAX];
    assert(values.count > 0 && values.count <= STATISTICS_RUNS_MAX);
    memcpy(sorted, values.items, (size_t)values.count * sizeof *sorted);
    qsort(sorted, (size_t)values.count, sizeof *sorted, double_order);
    return sorted_median(sorted, values.count);
}

// --- the exact distribution of a rank sum ----------------------------------------------------------------------------

// ways[k][s]: how many ways to choose k of the ranks with the sum s. Doubles hold C(100, 50) = 1.0e29 well enough.
typedef struct deals {
    double *ways;
    int chosen;  // k is at most this
    int sum_max; // s is at most this
} deals_t;

static double *deals_at(const deals_t *deals, int chosen, int sum)
{
    return &deals->ways[(size_t)chosen * ((size_t)deals->sum_max + 1) + (size_t)sum];
}

// Takes the ranks in one by one: with rank r, what summed to s with k - 1 of them sums to s + r with k.
static deals_t deals_count(const int *ranks, int count, int chosen)
{
    deals_t deals = {NULL, chosen, 0};
    for (int i = 0; i < count; i++)
        deals.sum_max += ranks[i];
    deals.ways = calloc(((size_t)chosen + 1) * ((size_t)deals.sum_max + 1), sizeof *deals.ways);
    if (deals.ways == NULL)
        abort();
    *deals_at(&deals, 0, 0) = 1;
    int reached = 0; // the sum of the ranks taken in so far
    for (int i = 0; i < count; i++) {
        int most = i + 1 < chosen ? i + 1 : chosen;
        reached += ranks[i];
        for (int k = most; k > 0; k--)
            for (int sum = reached; sum >= ranks[i]; sum--)
                *deals_at(&deals, k, sum) += *deals_at(&deals, k - 1, sum - ranks[i]);
    }
    return deals;
}

// The share of the deals whose sum lies at least `distance` from the mean, where both are doubled to stay whole.
static double deals_share_beyond(const deals_t *deals, long mean_doubled, long distance_doubled)
{
    double all = 0, beyond = 0;
    for (int sum = 0; sum <= deals->sum_max; sum++) {
        double ways = *deals_at(deals, deals->chosen, sum);
        all += ways;
        if (labs(2L * sum - mean_doubled) >= distance_doubled)
            beyond += ways;
    }
    return beyond / all;
}

// --- the test --------------------------------------------------------------------------------------------------------

typedef struct ranked {
    double value;
    int side; // 0 or 1
} ranked_t;

static int ranked_order(const void *left, const void *right)
{
    return double_order(&((const ranked_t *)left)->value, &((const ranked_t *)right)->value);
}

// Twice the rank of each: equal values share the mean of the ranks they take up, which can end in a half.
static void ranks_doubled(const ranked_t *sorted, int count, int *ranks)
{
    for (int first = 0, end; first < count; first = end) {
        for (end = first + 1; end < count && sorted[end].value == sorted[first].value;)
            end++;
        for (int i = first; i < end; i++)
            ranks[i] = first + 1 + end;
    }
}

double statistics_rank_sum_p(values_t one, values_t other)
{
    ranked_t pool[2 * STATISTICS_RUNS_MAX];
    int ranks[2 * STATISTICS_RUNS_MAX];
    int count = one.count + other.count;
    assert(one.count > 0 && other.count > 0 && count <= 2 * STATISTICS_RUNS_MAX);
    for (int i = 0; i < count; i++)
        pool[i] = i < one.count ? (ranked_t){one.items[i], 0} : (ranked_t){other.items[i - one.count], 1};
    qsort(pool, (size_t)count, sizeof *pool, ranked_order);
    ranks_doubled(pool, count, ranks);
    int sum = 0;
    for (int i = 0; i < count; i++)
        sum += pool[i].side == 0 ? ranks[i] : 0;
    // The mean of the doubled sum is n * (n + m + 1); doubled once more with the rest.
    long mean_doubled = 2L * one.count * (count + 1);
    deals_t deals = deals_count(ranks, count, one.count);
    double p = deals_share_beyond(&deals, mean_doubled, labs(2L * sum - mean_doubled));
    free(deals.ways);
    return p;
}

// --- the ratio -------------------------------------------------------------------------------------------------------

// How many of the n x m ratios, from either end, lie outside the interval: the most that leave at most half of the
// error to each side. 0 if even none is too many. U, the rank sum less its least value, counts the ratios above 1.
static int ratios_outside(int count, int base_count)
{
    int ranks[2 * STATISTICS_RUNS_MAX];
    for (int i = 0; i < count + base_count; i++)
        ranks[i] = i + 1;
    deals_t deals = deals_count(ranks, count + base_count, count);
    int least = count * (count + 1) / 2, outside = 0;
    double all = 0, below = 0;
    for (int sum = 0; sum <= deals.sum_max; sum++)
        all += *deals_at(&deals, count, sum);
    for (;; outside++) {
        below += *deals_at(&deals, count, least + outside);
        if (below / all > (100 - STATISTICS_CONFIDENCE_PERCENT) / 200.0)
            break;
    }
    free(deals.ways);
    return outside;
}

ratio_t statistics_ratio(values_t values, values_t base)
{
    double ratios[STATISTICS_RUNS_MAX * STATISTICS_RUNS_MAX];
    int count = 0;
    for (int i = 0; i < values.count; i++)
        for (int j = 0; j < base.count; j++) {
            if (base.items[j] == 0)
                return (ratio_t){NAN, false, NAN, NAN};
            ratios[count++] = values.items[i] / base.items[j];
        }
    qsort(ratios, (size_t)count, sizeof *ratios, double_order);
    int outside = ratios_outside(values.count, base.count);
    if (outside == 0)
        return (ratio_t){sorted_median(ratios, count), false, NAN, NAN};
    return (ratio_t){sorted_median(ratios, count), true, ratios[outside - 1], ratios[count - outside]};
}

// --- many questions --------------------------------------------------------------------------------------------------

// The smallest p is multiplied by the number of questions, the next by one less, and so on; none overtakes the next.
void statistics_holm(double *p, int count)
{
    bool done[count > 0 ? count : 1];
    memset(done, 0, sizeof done);
    double before = 0;
    for (int left = count; left > 0; left--) {
        int smallest = -1;
        for (int i = 0; i < count; i++)
            if (!done[i] && (smallest < 0 || p[i] < p[smallest]))
                smallest = i;
        done[smallest] = true;
        before = fmin(1, fmax(before, p[smallest] * left));
        p[smallest] = before;
    }
}

// The least p that n runs a side can have is that of the two most uneven deals of C(2n, n).
int statistics_runs_needed(int comparisons, double limit)
{
    double ways = 1;
    int runs = 0;
    do {
        runs++;
        ways *= (2.0 * runs - 1) * 2 / runs; // C(2n, n) from C(2n - 2, n - 1)
    } while (2 / ways * comparisons > limit && runs < STATISTICS_RUNS_MAX);
    return runs;
}

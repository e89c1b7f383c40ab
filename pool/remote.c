// pool/remote.c - see remote.h: each transition wrapped once.
#include "remote.h"

bool remote_free_list(page_t *page, block_t *first, block_t *last, unsigned count)
{
    uint64_t old = atomic_load_explicit(&page->remote, memory_order_relaxed);
    do
        last->next = remote_first(old);
    while (!atomic_compare_exchange_weak_explicit(&page->remote, &old, remote_push(old, first, count),
                                                  memory_order_seq_cst, memory_order_relaxed));
    return remote_must_queue(old);
}

bool remote_free_bit(page_t *page, unsigned index, bool *already)
{
    uint64_t old = atomic_load_explicit(&page->remote, memory_order_relaxed);
    do
        if ((*already = old >> index & 1))
            return false;
    while (!atomic_compare_exchange_weak_explicit(&page->remote, &old, remote_push_bit(old, index),
                                                  memory_order_seq_cst, memory_order_relaxed));
    return remote_must_queue(old);
}

// Sequentially consistent for block_bits.h, where what is pending is read afterwards; acquire would do for the others.
uint64_t remote_take(page_t *page, bool leave_inbox)
{
    if (leave_inbox)
        return atomic_exchange_explicit(&page->remote, 0, memory_order_seq_cst);
    if (!remote_has_any(page))
        return 0;
    return atomic_fetch_and_explicit(&page->remote, REMOTE_QUEUED, memory_order_seq_cst);
}

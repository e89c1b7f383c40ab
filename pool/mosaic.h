// pool/mosaic.h - mosaics: sparse pages whose free runs serve any class. When sizes shift, the holes of one phase would be
// of no use to the next: a page with a few blocks left belongs to its class. As a mosaic it belongs to none.
//
//   page     |A|......|A|..........|A|...|A|         blocks of class A, few and scattered
//   mosaic   |A|B |B | |A|B |B |B |  |A|..|A|        and in its free runs blocks of any other, side by side (tiles.h)
//
// A mosaic has no heap: one lock guards them all, so threads that end and forks need nothing of their own. Its blocks
// leave the fast paths, since its owner word is nobody's; frees join neighbours, so that runs grow back. A carve step in
// which nothing is used can be given back to the kernel (it is *gone* then), and an empty mosaic returns to its zone.
// Blocks are handed out as lists of one page, as the ring's borrowed ones are (heap.c).
// A heap makes one of its pages a mosaic for ever: until it is empty. Which and when: sparse.c.
//
// All of it is [mosaics] LOCK_MOSAICS.
// Invariant (mosaic_check): page->soiled = the steps that are not gone; every mosaic with a run is in the row for it.
#ifndef TARN_MOSAIC_H
#define TARN_MOSAIC_H

#include "lock.h"
#include "meta.h"
#include "page.h"
#include "tiles.h"

struct mosaic {
    page_t *page;         // [const] while it is one
    mosaic_t *next, *prev; // neighbours in the row; next: of the spare ones, too
    uint8_t row;          // log2 of the longest run
    uint32_t hollow_bytes; // free and resident
    uint16_t idle_steps;  // carve steps without a used granule that are resident, a bit each
    tiles_t tiles;        // of variable length
};

extern lock_t mosaic_lock;
extern meta_arena_t mosaic_arena;

// A small page with used blocks, that its owner has taken off its lists, and of which others have freed nothing, becomes
// one. False: no memory, and nothing has changed.
bool mosaic_make(page_t *page);
// Blocks of a class, all of one page, linked in order of address: at most `most`, *count of them. NULL: no run is long
// enough.
block_t *mosaic_take(unsigned class, unsigned most, page_t **page, unsigned *count);
// Frees a block of a mosaic. NULL: done; else what is wrong with the address. *emptied: its page went back to its zone.
const char *mosaic_free(page_t *page, void *address, bool *emptied);
// The blocks of a list, first to the NULL behind the last.
void mosaic_free_list(block_t *first);
// A page that became a mosaic after others had freed blocks in it has come out of an inbox.
void mosaic_collect(page_t *page);
// Bytes of the live block at the address; 0 and *wrong: what is wrong with it.
size_t mosaic_block_bytes(page_t *page, const void *address, const char **wrong);
// Gives steps without a used granule back to the kernel. Returns the bytes.
size_t mosaic_purge(void);
// Bytes of such steps.
size_t mosaic_idle_bytes(void);
unsigned mosaic_count(void);

// For each block of a mosaic, lowest first: the next one not below *granule. 0: none. The caller holds the lock.
size_t mosaic_next_block(const page_t *page, unsigned *granule);
const char *mosaic_check(const page_t *page);
// Whether every mosaic that is in a row is known to be one, and their number is right. NULL, or what is wrong.
const char *mosaic_rows_check(unsigned count);

#endif

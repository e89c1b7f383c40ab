"""What each fault of faults_*.c must come to: the function that is named, and the text behind the address.

{bytes} stands for the usable size of the block. SILENT: the fast path cannot see it at no cost, so nothing is said;
what the heap is worth afterwards is open, but it may not hang. When such a fault is detected one day, the test asks for
its text here. A free into a small block is seen when its page is asked for blocks next. HARDENED has what is said from harden=1 on instead.
"""

SILENT = None

DOUBLE = 'double free (block of {bytes} bytes)'
DOUBLE_OR_NEVER = 'double free, or never allocated (block of {bytes} bytes)'
DOUBLE_LARGE = 'double free, or never allocated'    # the size of a large block goes with it
INTERIOR = 'not the start of a block (block of {bytes} bytes)'
INTERIOR_LARGE = 'not the start of a block'
FOREIGN = 'not from this heap'
DEAD = 'not a live block (block of {bytes} bytes)'
DEAD_LARGE = 'not a live block'

FREE = {
    'double_free_of_1_byte': DOUBLE,
    'double_free_of_64_bytes': DOUBLE,
    'double_free_of_500_bytes': DOUBLE,
    'double_free_of_2000_bytes': DOUBLE,
    'double_free_of_20000_bytes': DOUBLE,
    'double_free_of_100000_bytes': DOUBLE,
    'double_free_of_1_mib': DOUBLE_LARGE,
    'double_free_of_100_mib': DOUBLE_LARGE,
    'delayed_double_free_of_64_bytes': SILENT,
    'delayed_double_free_of_2000_bytes': DOUBLE,
    'delayed_double_free_of_20000_bytes': DOUBLE,
    'delayed_double_free_of_100000_bytes': DOUBLE,
    'delayed_double_free_of_1_mib': DOUBLE_LARGE,
    'double_free_of_64_bytes_in_a_page_given_up': DOUBLE_OR_NEVER,
    'double_free_of_2000_bytes_in_a_page_given_up': DOUBLE_OR_NEVER,
    'double_free_of_64_bytes_by_another_thread': DOUBLE,
    'double_free_of_2000_bytes_by_another_thread': DOUBLE,
    'delayed_double_free_of_64_bytes_by_another_thread': DOUBLE,
    'double_free_of_1_mib_by_another_thread': DOUBLE_LARGE,
    'free_of_64_bytes_by_the_owner_then_by_a_thread': DOUBLE,
    'free_of_2000_bytes_by_the_owner_then_by_a_thread': DOUBLE,
    'free_of_1_mib_by_the_owner_then_by_a_thread': DOUBLE_LARGE,
    'free_of_64_bytes_by_a_thread_then_by_the_owner': SILENT,
    'free_of_2000_bytes_by_a_thread_then_by_the_owner': DOUBLE,
    'free_of_1_mib_by_a_thread_then_by_the_owner': DOUBLE_LARGE,
    'free_inside_64_bytes': INTERIOR,
    'free_8_bytes_into_64_bytes': INTERIOR,
    'free_inside_2000_bytes': INTERIOR,
    'free_8_bytes_into_2000_bytes': INTERIOR,
    'free_inside_100000_bytes': INTERIOR,
    'free_inside_1_mib': INTERIOR_LARGE,
    'free_deep_inside_1_mib': INTERIOR_LARGE,
    'free_deep_inside_100_mib': INTERIOR_LARGE,
    'free_of_a_stack_address': FOREIGN,
    'free_of_a_global': FOREIGN,
    'free_of_code': FOREIGN,
    'free_of_a_mapping_of_the_program': FOREIGN,
    'free_inside_a_mapping_of_the_program': FOREIGN,
    'free_16_bytes_into_a_mapping_of_the_program': FOREIGN,
    'free_inside_an_inaccessible_mapping': FOREIGN,
    'free_of_a_small_number': FOREIGN,
    'free_of_a_small_number_as_the_first_call_of_all': FOREIGN,
    'free_of_a_wild_pointer': FOREIGN,
    'free_of_the_highest_address': FOREIGN,
    'free_far_behind_the_last_small_block': FOREIGN,
    'free_far_behind_the_last_medium_block': FOREIGN,
    'sized_delete_of_64_bytes_twice': DOUBLE,
}

REALLOC = {
    'realloc_of_64_bytes_freed': DEAD,
    'realloc_of_2000_bytes_freed': DEAD,
    'realloc_of_1_mib_freed': DEAD_LARGE,
    'realloc_inside_64_bytes': INTERIOR,
    'realloc_inside_2000_bytes': INTERIOR,
    'realloc_inside_1_mib': INTERIOR_LARGE,
    'realloc_of_a_stack_address': FOREIGN,
    'realloc_of_a_global': FOREIGN,
    'realloc_of_a_mapping_of_the_program': FOREIGN,
    'realloc_of_a_wild_pointer': FOREIGN,
}

USABLE_SIZE = {
    'usable_size_of_64_bytes_freed': DEAD,
    'usable_size_of_2000_bytes_freed': DEAD,
    'usable_size_of_1_mib_freed': DEAD_LARGE,
    'usable_size_inside_64_bytes': INTERIOR,
    'usable_size_inside_2000_bytes': INTERIOR,
    'usable_size_inside_1_mib': INTERIOR_LARGE,
    'usable_size_of_a_stack_address': FOREIGN,
    'usable_size_of_a_global': FOREIGN,
    'usable_size_of_a_mapping_of_the_program': FOREIGN,
    'usable_size_of_a_wild_pointer': FOREIGN,
}

TOLD = 'not the size of the block: {told} (block of {{bytes}} bytes)'

DELETE = {name: SILENT for name in (
    'sized_delete_of_64_bytes_as_80', 'sized_delete_of_64_bytes_as_5000', 'sized_delete_of_2000_bytes_as_64',
    'sized_delete_of_1_mib_as_2', 'sized_delete_of_100_aligned_bytes_as_1000')}
FREE_SIZED = {'free_sized_of_64_bytes_as_200': SILENT}
FREE_ALIGNED_SIZED = {'free_aligned_sized_of_100_bytes_as_1000': SILENT}

HARDENED = {
    'sized_delete_of_64_bytes_as_80': TOLD.format(told=80),
    'sized_delete_of_64_bytes_as_5000': TOLD.format(told=5000),
    'sized_delete_of_2000_bytes_as_64': TOLD.format(told=64),
    'sized_delete_of_1_mib_as_2': TOLD.format(told=2 << 20),
    'sized_delete_of_100_aligned_bytes_as_1000': TOLD.format(told=1000),
    'free_sized_of_64_bytes_as_200': TOLD.format(told=200),
    'free_aligned_sized_of_100_bytes_as_1000': TOLD.format(told=1000),
    'delayed_double_free_of_64_bytes': DOUBLE,
    'free_of_64_bytes_by_a_thread_then_by_the_owner': DOUBLE,
}

# With level 3's traps no fault is sure to be of the same kind twice: test_traps.py has them alone.
HARDEN_OPTIONS = {0: '', 1: '', 2: '', 3: ':traps=off'}

FUNCTIONS = {'free': FREE, 'realloc': REALLOC, 'malloc_usable_size': USABLE_SIZE, 'operator delete': DELETE,
             'free_sized': FREE_SIZED, 'free_aligned_sized': FREE_ALIGNED_SIZED}


def expectation(fault, level):
    """The line that a fault must write, without address and size filled in; None for a silent one."""
    for function, table in FUNCTIONS.items():
        if fault in table:
            text = HARDENED.get(fault, table[fault]) if level >= 1 else table[fault]
            return text and f'tarn: {function}(): {{address}}: {text}\n'
    raise KeyError(f'{fault}: expectations.py does not know it')


def all_faults():
    return {fault for table in FUNCTIONS.values() for fault in table}

"""The parts of bench/run and bench/instructions.

    allocators      who competes: where each library lies, which version, whether it really loads
    benchmark       what a benchmark is: a name, a group, a question, and how its command is made
    suite           the C programs of bench/ with their sizes
    applications    real programs on generated input; inputs generates it, redis drives the server
    traces          the calls of real programs, recorded and replayed
    measure         one run of one benchmark under one allocator
    contest         all runs in interleaved order
    summary         medians, ratios to the system malloc, spread, geometric means
    report          the same as text
    provenance      what all this was measured on
    callgrind       instructions executed, counted by valgrind
"""

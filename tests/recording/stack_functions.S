// tests/recording/stack_functions.S - a library of 40,000 functions, 16 bytes each, that call where they are told: 1.6 MiB of
// unwind tables. x86-64.
    .text
    .globl functions
    .type functions, @function
    .balign 16
functions:
    .rept 40000
    .cfi_startproc
    push %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    call *%rdi
    pop %rbp
    .cfi_def_cfa_offset 8
    ret
    .cfi_endproc
    .balign 16
    .endr
    .size functions, . - functions
    .section .note.GNU-stack, "", @progbits

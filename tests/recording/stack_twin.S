// tests/recording/stack_twin.S - twice the same library but for this: the first has its frame by bp, the second by sp, and in bp
// what cannot be read. Both call where they are told from the same address. x86-64.
    .text
    .globl twin
    .type twin, @function
twin:
    .cfi_startproc
    push %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    push %rbx
    push %rbx
#if TWIN == 1
    mov %rsp, %rbp
    .cfi_def_cfa %rbp, 32
    .byte 0x90, 0x90, 0x90, 0x90 // as long as the other's
#else
    .cfi_def_cfa_offset 32
    mov $-4096, %rbp
#endif
    call *%rdi
    .cfi_def_cfa %rsp, 32
    pop %rbx
    .cfi_def_cfa_offset 24
    pop %rbx
    .cfi_def_cfa_offset 16
    pop %rbp
    .cfi_def_cfa_offset 8
    ret
    .cfi_endproc
    .size twin, . - twin
    .section .note.GNU-stack, "", @progbits

"""A classic BPF interpreter for seccomp filters, after Documentation/networking/filter.rst."""

from __future__ import annotations

import struct

SECCOMP_DATA = struct.Struct("<iIQ6Q")


def run(program: bytes, number: int, arch: int, arguments: tuple[int, ...]) -> int:
    """What the filter returns for a call. AssertionError for what the kernel's verifier would refuse."""
    data = SECCOMP_DATA.pack(number, arch, 0, *arguments)
    code = list(struct.iter_unpack("<HBBI", program))
    accumulator = at = 0
    while True:
        operation, jt, jf, k = code[at]
        at += 1
        if operation == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif operation == 0x54:  # BPF_ALU | BPF_AND | BPF_K
            accumulator &= k
        elif operation == 0x05:  # BPF_JMP | BPF_JA
            at += k
        elif operation == 0x06:  # BPF_RET | BPF_K
            return k
        else:
            holds = {
                0x15: accumulator == k,  # JEQ
                0x25: accumulator > k,  # JGT
                0x35: accumulator >= k,  # JGE
                0x45: bool(accumulator & k),  # JSET
            }
            assert operation in holds, f"unknown operation {operation:#x}"
            at += jt if holds[operation] else jf

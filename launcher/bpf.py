"""Classic BPF as data: programs of two architectures joined, and the cookie that lets a re-run call pass."""

from __future__ import annotations

import struct
from typing import NamedTuple

AUDIT_ARCH_X86_64 = 0xC000003E
AUDIT_ARCH_I386 = 0x40000003

ALLOW = 0x7FFF0000
NOTIFY = 0x7FC00000

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
JUMP = 0x05  # BPF_JMP | BPF_JA
JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

# Offsets in struct seccomp_data, little-endian.
ARCH = 4
ARGUMENT_5_LOW = 56
ARGUMENT_5_HIGH = 60

_FORMAT = struct.Struct("<HBBI")


class Instruction(NamedTuple):
    """struct sock_filter. `jt` and `jf` count the instructions skipped."""

    code: int
    jt: int
    jf: int
    k: int


Program = list[Instruction]


def parse(program: bytes) -> Program:
    return [Instruction(*fields) for fields in _FORMAT.iter_unpack(program)]


def assemble(program: Program) -> bytes:
    return b"".join(_FORMAT.pack(*instruction) for instruction in program)


def join(x86_64: Program, i386: Program, cookie: tuple[int, int]) -> Program:
    """One program that runs `x86_64` or `i386` by the architecture of the call. `cookie` is (low, high).

    Both are as libseccomp exports them for x86-64, the second with the numbers of i386: libseccomp cannot name
    system calls newer than itself for another architecture. Calls that they would notify of pass with the cookie
    in their sixth argument; on i386, where registers have 32 bits, with its low half.
    """
    low, high = cookie
    wide = _part(
        x86_64,
        AUDIT_ARCH_X86_64,
        [
            Instruction(LOAD, 0, 0, ARGUMENT_5_LOW),
            Instruction(JUMP_EQUAL, 0, 3, low),
            Instruction(LOAD, 0, 0, ARGUMENT_5_HIGH),
            Instruction(JUMP_EQUAL, 0, 1, high),
            Instruction(RETURN, 0, 0, ALLOW),
            Instruction(RETURN, 0, 0, NOTIFY),
        ],
    )
    narrow = _part(
        i386,
        AUDIT_ARCH_I386,
        [
            Instruction(LOAD, 0, 0, ARGUMENT_5_LOW),
            Instruction(JUMP_EQUAL, 0, 1, low),
            Instruction(RETURN, 0, 0, ALLOW),
            Instruction(RETURN, 0, 0, NOTIFY),
        ],
    )
    return [
        Instruction(LOAD, 0, 0, ARCH),
        Instruction(JUMP_EQUAL, 0, 1, AUDIT_ARCH_I386),
        Instruction(JUMP, 0, 0, len(wide)),
        *wide,
        *narrow,
    ]


def _part(program: Program, arch: int, cookie_check: Program) -> Program:
    """`program` for `arch`, with every notification decided by `cookie_check` at its end.

    Each instruction stays in its place, so no jump has to be counted anew.
    """
    if program[:2] != [Instruction(LOAD, 0, 0, ARCH), program[1]._replace(k=AUDIT_ARCH_X86_64)]:
        raise ValueError("the exported filter does not begin with the check of its architecture")
    part = [
        Instruction(JUMP, 0, 0, len(program) - index - 1) if (code, k) == (RETURN, NOTIFY) else instruction
        for index, instruction in enumerate(program)
        for code, _, _, k in (instruction,)
    ]
    part[1] = part[1]._replace(k=arch)
    return part + cookie_check

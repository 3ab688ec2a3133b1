"""Writes its own registers and reads everybody's: files whose content says which write it is, whole or not.

A line of JSON on stdout for each: who, register, number, and by CLOCK_MONOTONIC when it began and ended.
"""

import fcntl
import hashlib
import json
import os
import random
import sys
import time

SIZES = (100, 5_000, 70_000, 300_000)
DIGEST = 64


def content(register: str, number: int, size: int) -> bytes:
    """The text of that write: its name, as much that depends on it as is wanted, and the digest of all."""
    head = f"{register} {number}\n".encode()
    body = head + random.Random(f"{register} {number}").randbytes(size)
    return body + hashlib.sha256(body).hexdigest().encode()


def number_of(register: str, text: bytes) -> int:
    """Which write this is; -1 for what nobody has written."""
    body, digest = text[:-DIGEST], text[-DIGEST:]
    if hashlib.sha256(body).hexdigest().encode() != digest or not body.startswith(register.encode() + b" "):
        return -1
    return int(body.split(b"\n", 1)[0].split()[1])


def write(register: str, number: int, size: int) -> None:
    """A register's name says how: beside the old one and renamed, over it, or over it under a lock."""
    text = content(register, number, size)
    if register.startswith("renamed"):
        with open(register + ".new", "wb") as file:
            file.write(text)
        os.rename(register + ".new", register)
        return
    with open(register, "wb" if register.startswith("overwritten") else "r+b", buffering=0) as file:
        if register.startswith("locked"):
            fcntl.lockf(file, fcntl.LOCK_EX)
            file.truncate(0)
        for start in range(0, len(text), 10_000):
            file.write(text[start : start + 10_000])


def read(register: str) -> bytes:
    with open(register, "rb") as file:
        if register.startswith("locked"):
            fcntl.lockf(file, fcntl.LOCK_SH)
        return file.read()


def registers_of(who: str) -> list[str]:
    return [f"{how}-{who}" for how in ("renamed", "overwritten", "locked")]


def is_readable(register: str, machine: str) -> bool:
    """Whether a reader on `machine` may expect whole content: what is written over is seen in the making where it
    is written, and a lock is for one machine."""
    how, writer = register.split("-", 1)
    return how == "renamed" or (how == "locked") == writer.startswith(machine)


def main(who: str, everybody: str, seconds: str) -> None:
    """`everybody` are the workers, with commas; a name begins with its machine's, which is one letter."""
    chance = random.Random(who)
    numbers = dict.fromkeys(registers_of(who), 0)
    known = [register for name in everybody.split(",") for register in registers_of(name)]
    readable = [register for register in known if is_readable(register, who[0])]
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        writing = chance.random() < 0.3
        register = chance.choice(list(numbers) if writing else readable)
        said = {"who": who, "register": register, "what": "write" if writing else "read"}
        began = time.monotonic()
        if writing:
            numbers[register] += 1
            write(register, numbers[register], chance.choice(SIZES))
            said["number"] = numbers[register]
        else:
            text = read(register)
            said["number"] = number_of(register, text)
            if said["number"] < 0:
                said["text"] = f"{len(text)} bytes, {text.count(0)} zeros, {text[:40]!r}"
        print(json.dumps({**said, "began": began, "ended": time.monotonic()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

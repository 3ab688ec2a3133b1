"""Lets a pool of processes write, read and count files of the folder given."""

import multiprocessing
import os
import sys
from concurrent.futures import ThreadPoolExecutor

top = os.path.abspath(sys.argv[1])


def write(number: int) -> int:
    path = os.path.join(top, f"part-{number}")
    with open(path, "w") as file:
        file.write(f"{number}\n" * number)
    with open(path) as file, open(os.path.join(top, "log"), "a") as log:
        log.write("line\n")
        return sum(map(int, file))


if __name__ == "__main__":
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(4) as pool:
            print(sum(pool.map(write, range(40))))
    with ThreadPoolExecutor(16) as threads:
        print(sum(threads.map(write, range(40, 80))))
    with open(os.path.join(top, "log")) as log:
        print(len(log.readlines()), len(os.listdir(top)))

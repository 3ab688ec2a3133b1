"""Opens many files for writing at once, writes to all, and closes them in another order."""

import os
import random
import sys

top, count = sys.argv[1], int(sys.argv[2])
files = [open(os.path.join(top, str(number)), "w+") for number in range(count)]
for number, file in enumerate(files):
    file.write(f"file {number}\n" * 3)
copies = [os.dup(file.fileno()) for file in files[:20]]
random.Random(1).shuffle(files)
for file in files[: count // 2]:
    file.close()
for copy in copies:
    os.pwrite(copy, b"FILE", 0)
for file in files[count // 2 :]:
    file.flush()
    os.fsync(file.fileno())
for copy in copies:
    os.close(copy)
sizes = sorted(os.path.getsize(os.path.join(top, name)) for name in os.listdir(top))
print(len(sizes), sizes[0], sizes[-1], len({file.fileno() for file in files[count // 2 :]}))
try:
    while True:
        files.append(open(os.path.join(top, "0")))
except OSError as error:
    print(error.strerror)

"""Maps files of the folder given, reads and writes through the mappings."""

import mmap
import os
import sys

os.chdir(sys.argv[1]) if sys.argv[1] != "." else None
with open("mapped", "wb+") as file:
    file.truncate(3 * 4096)
    with mmap.mmap(file.fileno(), 0) as view:
        view[0:5] = b"first"
        view[4096:4101] = b"after"
        view.flush()
        file.seek(0)
        print(file.read(5), file.seek(4096), file.read(5))
        view[8192:8196] = b"last"

with open("late", "wb+") as file:
    file.write(b"x" * 5000)
    file.flush()
    late = mmap.mmap(file.fileno(), 0)
late[10:14] = b"late"

with open("mapped", "rb") as again, mmap.mmap(again.fileno(), 0, prot=mmap.PROT_READ) as view:
    print(view[:5], view[8192:8196], view.find(b"after"), len(view))
    os.unlink("mapped")
    print(view[4096:4101], os.path.exists("mapped"))

with open("private", "wb+") as file:
    file.write(b"original")
    file.flush()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as view:
        view[:4] = b"copy"
        print(view[:], os.pread(file.fileno(), 8, 0))

if (pid := os.fork()) == 0:
    late[20:25] = b"child"
    os._exit(0)
os.waitpid(pid, 0)
print(late[8:26])
late.close()

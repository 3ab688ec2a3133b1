"""Makes temporary files and folders of every kind in the folder given; some stay."""

import os
import sys
import tempfile

top = sys.argv[1]
with tempfile.TemporaryFile(dir=top) as file:
    file.write(b"nameless")
    file.seek(0)
    print(file.read(), os.fstat(file.fileno()).st_size, os.listdir(top))
with tempfile.NamedTemporaryFile(dir=top, prefix="named-") as file:
    file.write(b"named")
    file.flush()
    print(
        os.path.basename(file.name)[:6],
        os.path.getsize(file.name),
        oct(os.stat(file.name).st_mode),
        len(os.listdir(top)),
    )
with tempfile.TemporaryDirectory(dir=top) as folder:
    with open(os.path.join(folder, "inside"), "x") as inside:
        inside.write("content")
    print(os.listdir(folder), oct(os.stat(folder).st_mode))
with tempfile.SpooledTemporaryFile(max_size=10, dir=top) as file:
    file.write(b"more than ten bytes")
    file.seek(5)
    print(file.read())
descriptor, path = tempfile.mkstemp(dir=top)
os.write(descriptor, b"kept")
os.fsync(descriptor)
os.close(descriptor)
os.replace(path, os.path.join(top, "kept"))
with open(os.path.join(top, "removed"), "w+") as file:
    os.unlink(file.name)
    file.write("written after it was removed")
    file.seek(0)
    print(file.read(), os.fstat(file.fileno()).st_nlink)
print(os.listdir(top))

"""Walks and changes the folder given by descriptors and by names, printing what the os module says."""

import os
import stat
import sys

top = sys.argv[1]
handle = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
os.mkdir("sub", 0o750, dir_fd=handle)
sub = os.open("sub", os.O_RDONLY, dir_fd=handle)
with open(os.open("file", os.O_CREAT | os.O_WRONLY, 0o640, dir_fd=sub), "w") as file:
    file.write("content")
os.symlink("file", "link", dir_fd=sub)
os.link("file", "hard", src_dir_fd=sub, dst_dir_fd=sub)
os.rename("hard", "../up", src_dir_fd=sub, dst_dir_fd=sub)
os.utime("file", ns=(5, 10**18), dir_fd=sub)
os.utime("link", ns=(5, 10**18 + 1), dir_fd=sub, follow_symlinks=False)
os.chmod("file", 0o604, dir_fd=sub)
status = os.stat("link", dir_fd=sub)
print(oct(status.st_mode), status.st_size, status.st_nlink, status.st_mtime_ns)
print(os.readlink("link", dir_fd=sub), os.stat("link", dir_fd=sub, follow_symlinks=False).st_mtime_ns)
print(os.access("file", os.W_OK, dir_fd=sub), os.access("none", os.F_OK, dir_fd=sub))
print(sorted((e.name, e.is_dir(), e.is_symlink(), e.stat().st_size, e.inode() > 0) for e in os.scandir(sub)))
print(sorted(os.listdir(handle)), os.stat(handle).st_nlink, stat.S_ISDIR(os.fstat(sub).st_mode))
os.fchdir(sub)
print(os.path.basename(os.getcwd()), os.path.exists("../up"), os.path.samefile("file", "../up"))
os.mkdir("a")
os.makedirs("b/c/d", exist_ok=True)
for folder, folders, files, _ in os.fwalk(".", follow_symlinks=False):
    print(folder, sorted(folders), sorted(files))
os.removedirs("b/c/d")
path = os.open("file", os.O_PATH)
print(os.fstat(path).st_size, os.readlink(f"/proc/self/fd/{path}").rsplit("/", 2)[1:])
with open(f"/proc/self/fd/{path}") as reopened:
    print(reopened.read())
os.setxattr("file", "user.note", b"value")
print(os.listxattr("link"), os.getxattr(path := os.open("file", os.O_RDONLY), "user.note"))
os.fchmod(path, 0o600)
os.truncate("file", 3)
print(os.pread(path, 10, 0), oct(os.fstat(path).st_mode))
for number in range(300):
    os.close(os.open(f"many-{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
print(len(os.listdir(".")))
for number in range(0, 300, 2):
    os.unlink(f"many-{number}", dir_fd=sub)
print(len(os.listdir(sub)), os.pathconf(".", "PC_NAME_MAX"))
for attempt in (
    "os.rmdir('..')",
    "os.mkdir('a')",
    "os.unlink('a')",
    "os.rename('a', 'file')",
    "os.open('a', os.O_WRONLY)",
):
    try:
        eval(attempt)
    except OSError as error:
        print(attempt, error.strerror)

"""Hands descriptors of the working directory's files around: dup, sockets, exec, /proc, and prints what arrives."""

import fcntl
import os
import socket
import subprocess
import sys

here, there = socket.socketpair()
file = os.open("sent", os.O_RDWR | os.O_CREAT, 0o644)
os.write(file, b"before ")
if (pid := os.fork()) == 0:
    received, listed = socket.recv_fds(there, 10, 2)[1]
    os.write(received, b"after")
    os.close(received)
    os.fchdir(listed)
    print(sorted(os.listdir(listed)), os.path.exists("one"), flush=True)
    os._exit(0)
folder = os.open("sub", os.O_RDONLY)
socket.send_fds(here, [b"x"], [file, folder])
os.close(file)
os.waitpid(pid, 0)
print(open("sent").read())

file = os.open("dup", os.O_WRONLY | os.O_CREAT)
second, third = os.dup(file), fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 50)
os.write(file, b"1")
os.close(file)
os.write(second, b"2")
os.close(second)
print(
    open("dup").read(),
    third >= 50,
    fcntl.fcntl(third, fcntl.F_GETFD),
    fcntl.fcntl(third, fcntl.F_GETFL),
)
os.write(third, b"3")
os.dup2(third, 5)
os.close(third)
subprocess.run(["sh", "-c", "echo four >&5"], pass_fds=[5], check=True)
os.close(5)
print(open("dup").read())

with open("output", "w") as output:
    subprocess.run([sys.executable, "-c", "print('from a child')"], stdout=output, check=True)
    subprocess.run(["cat", "hello.txt"], stdout=output, stderr=subprocess.STDOUT, check=True)
print(open("output").read())
with open("/dev/null", "w") as null:
    os.dup2(os.open("replaced", os.O_WRONLY | os.O_CREAT), 40)
    os.write(40, b"content")
    os.dup2(null.fileno(), 40)
print(open("replaced").read(), subprocess.run(["cat"], stdin=open("hello.txt"), capture_output=True).stdout)
source = os.open("lines.txt", os.O_RDONLY)
target = os.open("copied", os.O_WRONLY | os.O_CREAT)
print(os.sendfile(target, source, 0, 1000), os.copy_file_range(source, target, 500, 1000), os.fstat(target).st_size)
append = os.open("copied", os.O_WRONLY | os.O_APPEND)
os.write(append, b"end")
print(os.lseek(append, 0, os.SEEK_CUR), fcntl.fcntl(append, fcntl.F_GETFL))

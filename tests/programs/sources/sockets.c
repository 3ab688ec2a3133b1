/* Binds and connects sockets of several families, in the folder given. With -DMULTIPLEXED through socketcall(2), as
 * C libraries for 32 bits did before Linux 4.3. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef MULTIPLEXED
static int multiplexed(int call, int file, const void *address, socklen_t size)
{
    unsigned long words[] = {file, (unsigned long)address, size};
    return syscall(SYS_socketcall, call, words);
}
#define bind(...) multiplexed(2, __VA_ARGS__)
#define connect(...) multiplexed(3, __VA_ARGS__)
#endif

static void say(const char *what, long result)
{
    printf("%s: %s\n", what, result < 0 ? strerrorname_np(errno) : "ok");
}

static struct sockaddr_un path_in(const char *folder, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", folder, name);
    return address;
}

static int unix_socket(int kind)
{
    return socket(AF_UNIX, kind, 0);
}

static void paths(const char *folder)
{
    struct sockaddr_un stream = path_in(folder, "stream"), datagram = path_in(folder, "datagram");
    struct sockaddr_un missing = path_in(folder, "missing");
    int server = unix_socket(SOCK_STREAM), client = unix_socket(SOCK_STREAM), receiver = unix_socket(SOCK_DGRAM);
    char got[8];
    say("bind", bind(server, (void *)&stream, sizeof stream));
    say("listen", listen(server, 1));
    say("connect", connect(client, (void *)&stream, sizeof stream));
    say("send", send(client, "x", 1, MSG_NOSIGNAL));
    say("bind again", bind(unix_socket(SOCK_STREAM), (void *)&stream, sizeof stream));
    say("bind datagram", bind(receiver, (void *)&datagram, sizeof datagram));
    say("sendto", sendto(unix_socket(SOCK_DGRAM), "y", 1, 0, (void *)&datagram, sizeof datagram));
    say("recv", recv(receiver, got, sizeof got, MSG_DONTWAIT));
    say("connect missing", connect(unix_socket(SOCK_STREAM), (void *)&missing, sizeof missing));
}

static void others(void)
{
    struct sockaddr_un abstract = {.sun_family = AF_UNIX};
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof inet;
    int size = snprintf(abstract.sun_path + 1, 50, "seccomp-drive-%d", getpid());
    size += offsetof(struct sockaddr_un, sun_path) + 1;
    int named = unix_socket(SOCK_STREAM), server = socket(AF_INET, SOCK_STREAM, 0);
    say("bind abstract", bind(named, (void *)&abstract, size));
    say("listen", listen(named, 1));
    say("connect abstract", connect(unix_socket(SOCK_STREAM), (void *)&abstract, size));
    say("bind inet", bind(server, (void *)&inet, sizeof inet));
    say("listen", listen(server, 1));
    say("getsockname", getsockname(server, (void *)&inet, &length));
    say("connect inet", connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&inet, sizeof inet));
}

static void bad(const char *folder)
{
    struct sockaddr_un address = path_in(folder, "bad");
    int file = unix_socket(SOCK_STREAM);
    say("bind bad pointer", bind(file, (void *)16, sizeof address));
    say("connect bad pointer", connect(file, (void *)16, sizeof address));
    say("bind too long", bind(file, (void *)&address, 300));
    say("bind negative", bind(file, (void *)&address, -1));
}

int main(int count, char **arguments)
{
    for (int index = 1; index < count; index++) {
        paths(arguments[index]);
        bad(arguments[index]);
    }
    others();
    return 0;
}

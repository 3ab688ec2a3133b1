"""Uses one SQLite database the ways programs do, from several processes, and prints what it finds."""

import multiprocessing
import os
import sqlite3
import sys


def count(path: str, times: int) -> None:
    """Add one, `times` times, each in a transaction of its own."""
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    for _ in range(times):
        connection.execute("begin immediate")
        connection.execute("update counter set n = n + 1")
        connection.execute("commit")
    connection.close()


def main(path: str, journal: str) -> None:
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    print(connection.execute(f"pragma journal_mode={journal}").fetchone()[0])
    connection.execute("create table counter (n integer)")
    connection.execute("create table text (id integer primary key, value text)")
    connection.execute("insert into counter values (0)")
    connection.execute("begin")
    connection.executemany("insert into text (value) values (?)", [(f"row {n}" * 20,) for n in range(3000)])
    connection.execute("commit")
    connection.execute("begin")
    connection.execute("delete from text")
    connection.execute("rollback")
    print(connection.execute("select count(*), sum(length(value)) from text").fetchone())

    connection.execute("begin exclusive")
    other = sqlite3.connect(path, timeout=0)
    try:
        other.execute("insert into text (value) values ('no')")
    except sqlite3.OperationalError as error:
        print(error)
    connection.execute("commit")
    other.close()

    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=count, args=(path, 50)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(connection.execute("select n from counter").fetchone()[0], "counted")
    connection.execute("delete from text where id % 2")
    connection.execute("vacuum")
    print(connection.execute("pragma integrity_check").fetchone()[0])
    connection.close()
    with sqlite3.connect(path) as again:
        print(
            sum(1 for _ in again.iterdump()), [name for name in ("-journal", "-wal") if os.path.exists(path + name)]
        )


if __name__ == "__main__":
    main(*sys.argv[1:])

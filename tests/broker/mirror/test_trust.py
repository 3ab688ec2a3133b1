"""What is trusted, and that who vouches for it is told the same."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.mirror import trust as trust_module
from broker.mirror.trust import Trust
from broker.mirror.vouching import NoVouch
from broker.remotes.paths import Path

PATHS = [b"", b"a", b"a/b", b"a/b/c", b"ab"]
AGES = [0.0, 5.0, 50.0]
TTL = 10.0


class Told(NoVouch):
    """What a `Vouch` was told last, as far as names go."""

    def __init__(self) -> None:
        self.names: dict[Path, float] = {}
        self.listings: dict[Path, float] = {}

    def name(self, path: Path, until: float) -> None:
        self.names[path] = until

    def listing(self, path: Path, until: float) -> None:
        self.listings[path] = until

    def forget_names(self) -> None:
        self.names.clear()
        self.listings.clear()

    def trusts(self, path: Path, now: float) -> bool:
        return self.names.get(path, 0) > now or (bool(path) and self.listings.get(path.rpartition(b"/")[0], 0) > now)


steps = st.lists(
    st.tuples(
        st.sampled_from(["name", "listing", "drop_name", "drop_listing", "forget"]),
        st.sampled_from(PATHS),
        st.sampled_from(AGES),
    ),
    max_size=12,
)


@given(steps)
def test_nobody_vouches_for_what_is_not_trusted(taken: list[tuple[str, Path, float]]) -> None:
    """After any changes; what is forgotten as a whole may be vouched for less than it is trusted."""
    told = Told()
    trust = Trust(TTL, told)
    now = time.monotonic()
    forgot = False
    for what, path, age in taken:
        forgot |= what == "forget"
        if what in ("name", "listing"):
            getattr(trust, what)(path, now - age)
        else:
            getattr(trust, what)(path)
    for path in PATHS:
        assert trust.trusts(path) or not told.trusts(path, now + 1)
        assert forgot or trust.trusts(path) == told.trusts(path, now + 1)


def test_a_name_is_as_fresh_as_its_listing() -> None:
    """Its own validation or that of its folder, whichever is later; the root has no folder."""
    trust = Trust(TTL, Told())
    now = time.monotonic()
    trust.name(b"a/b", now - 50)
    assert not trust.trusts(b"a/b")
    trust.listing(b"a", now)
    assert trust.trusts(b"a/b") and trust.trusts(b"a/new") and not trust.trusts(b"a")
    assert trust.validated(b"a/b") == now - 50
    trust.listing(b"", now)
    assert trust.trusts(b"a") and not trust.trusts(b"")


def test_what_is_known_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many names and folders the earlier are forgotten, and nobody vouches for them any more."""
    monkeypatch.setattr(trust_module, "_KNOWN_MOST", 10)
    told, now = Told(), time.monotonic()
    trust = Trust(TTL, told)
    for number in range(100):
        trust.name(b"f%d" % number, now)
        trust.listing(b"d%d" % number, now)
        assert len(trust._names) <= 11 and len(trust._listings) <= 11
        assert trust.trusts(b"f%d" % number) and trust.trusts_listing(b"d%d" % number)
    assert not trust.trusts(b"f0") and not told.trusts(b"f0", now)
    assert not trust.trusts(b"d0/x") and not told.trusts(b"d0/x", now)


def test_an_older_answer_does_not_make_a_name_older() -> None:
    """Two looks may end in the other order than they began."""
    trust = Trust(TTL, Told())
    now = time.monotonic()
    trust.name(b"a", now)
    trust.name(b"a", now - 20)
    assert trust.validated(b"a") == now


def test_what_is_below_a_folder_is_forgotten_with_it() -> None:
    """And not what only begins like it."""
    trust = Trust(TTL, Told())
    for path in PATHS:
        trust.name(path, time.monotonic())
    trust.forget(b"a")
    assert [path for path in PATHS if trust.trusts(path)] == [b"", b"ab"]


def test_a_listing_counts_as_long_as_it_took() -> None:
    """If that is more than the ttl; not for who asks for what was found since a moment, and never without a ttl."""
    told, now = Told(), time.monotonic()
    trust = Trust(TTL, told)
    trust.listing(b"a", now - 50, 60)
    assert trust.trusts_listing(b"a") and trust.trusts(b"a/b") and told.trusts(b"a/b", now)
    assert not trust.trusts_listing(b"a", now - 40)
    trust.listing(b"a", now - 50, 40)
    assert not trust.trusts_listing(b"a") and not told.trusts(b"a/b", now)
    trust = Trust(0, told)
    trust.listing(b"a", now, 60)
    assert not trust.trusts(b"a/b") and not told.trusts(b"a/b", time.monotonic())

"""Trees: their roots and proofs are those of an independent implementation, and nothing else passes the checks."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree, verify_consistency, verify_inclusion  # type: ignore[import-untyped]

from tallystick import tlog

LEAVES = [sha256(b"%d" % n).digest() * (n % 3) for n in range(2_000)]
HASHES = tlog.leaf_hashes(LEAVES)


class Tiles:
    """The tiles of a tree, as a log would serve them; notes which were read."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.levels = [HASHES[:size]]
        while row := self.levels[-1][: len(self.levels[-1]) // 256 * 256]:
            self.levels.append([tlog.root(row[at : at + 256]) for at in range(0, len(row), 256)])
        self.read: set[tuple[int, int]] = set()

    def __call__(self, level: int, n: int) -> bytes:
        self.read.add((level, n))
        return b"".join(self.levels[level][n * 256 : (n + 1) * 256])


@pytest.fixture(scope="module")
def other() -> InmemoryTree:
    tree = InmemoryTree(algorithm="sha256")
    for leaf in LEAVES:
        tree.append_entry(leaf)
    return tree


@pytest.fixture(scope="module")
def roots(other: InmemoryTree) -> list[bytes]:
    return [other.get_root(size) for size in range(len(LEAVES) + 1)]


def test_a_leaf_and_a_node_hash_as_the_other_says() -> None:
    tree = InmemoryTree(algorithm="sha256")
    assert tree.hash_buff(b"abc") == tlog.leaf_hash(b"abc")
    assert tree.hash_pair(HASHES[0], HASHES[1]) == tlog.node_hash(HASHES[0], HASHES[1])


def test_each_root_of_2000_leaves_is_that_of_the_other(roots: list[bytes]) -> None:
    grown = tlog.Frontier()
    assert grown.root() == roots[0] == tlog.EMPTY_ROOT == tlog.root([])
    for size in range(1, len(LEAVES) + 1):
        grown.extend(HASHES[size - 1 : size])
        assert grown.root() == roots[size]
    assert all(tlog.root(HASHES[:size]) == roots[size] for size in range(0, 2_001, 7))


def test_each_root_is_read_from_the_tiles_on_the_edge(roots: list[bytes]) -> None:
    for size in [*range(1, 300), *range(300, 2_001, 31), 512, 1_024, 2_000]:
        tiles = Tiles(size)
        assert tlog.tree_root(size, tiles) == roots[size]
        assert tiles.read == set(tlog.edge_tiles(size))


def test_inclusion_proofs_are_those_of_the_other(other: InmemoryTree, roots: list[bytes]) -> None:
    chosen = random.Random(5)
    for size in [*range(1, 70), 255, 256, 257, *chosen.sample(range(258, 2_001), 60), 2_000]:
        tiles = Tiles(2_000)
        for index in {0, size - 1, size // 2, *(chosen.randrange(size) for _ in range(6))}:
            tiles.read.clear()
            path = tlog.inclusion_proof(index, size, tiles)
            assert tiles.read == set(tlog.inclusion_tiles(index, size))
            theirs = other.prove_inclusion(index + 1, size)
            assert path == theirs.path[1:]
            verify_inclusion(HASHES[index], roots[size], theirs, index=index + 1, size=size)
            assert tlog.check_inclusion(HASHES[index], index, size, path, roots[size])


def test_consistency_proofs_hold_where_those_of_the_other_do(other: InmemoryTree, roots: list[bytes]) -> None:
    chosen = random.Random(6)
    for new in [*range(1, 40), 255, 256, 257, *chosen.sample(range(258, 2_001), 60), 2_000]:
        tiles = Tiles(2_000)
        for old in {1, new, new - 1, new // 2, *(chosen.randrange(new) for _ in range(6))}:
            tiles.read.clear()
            path = tlog.consistency_proof(old, new, tiles)
            assert tiles.read == set(tlog.consistency_tiles(old, new))
            assert tlog.check_consistency(old=old, old_root=roots[old], new=new, new_root=roots[new], path=path)
            if 0 < old < new:
                theirs = other.prove_consistency(old, new)
                verify_consistency(roots[old], roots[new], theirs, prior_size=old, later_size=new)
                assert path == _proof_of_the_rfc(old, HASHES[:new], whole=True)


@given(data=st.data(), size=st.integers(1, 2_000))
@settings(max_examples=150, deadline=None)
def test_a_proof_of_inclusion_holds_for_one_leaf_place_size_and_root_alone(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = tlog.inclusion_proof(index, size, Tiles(size))
    root = tlog.root(HASHES[:size])
    check = tlog.check_inclusion
    assert check(HASHES[index], index, size, path, root)
    elsewhere = data.draw(st.integers(-1, size + 1).filter(lambda n: n != index))
    assert not check(HASHES[index], elsewhere, size, path, root)
    assert not check(_flipped(HASHES[index], data), index, size, path, root)
    assert not check(HASHES[index], index, size, path, _flipped(root, data))
    assert not check(HASHES[index], index, size, [*path, root], root)
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        assert not check(HASHES[index], index, size, path[:at] + path[at + 1 :], root)
        assert not check(HASHES[index], index, size, [*path[:at], _flipped(path[at], data), *path[at + 1 :]], root)


@given(data=st.data(), new=st.integers(2, 2_000))
@settings(max_examples=150, deadline=None)
def test_a_proof_of_consistency_holds_for_these_two_trees_alone(data: st.DataObject, new: int) -> None:
    old = data.draw(st.integers(1, new - 1))
    path = tlog.consistency_proof(old, new, Tiles(new))
    roots = tlog.root(HASHES[:old]), tlog.root(HASHES[:new])

    def check(old_root: bytes, new_root: bytes, steps: list[bytes]) -> bool:
        return tlog.check_consistency(old=old, old_root=old_root, new=new, new_root=new_root, path=steps)

    assert check(*roots, path)
    assert not check(_flipped(roots[0], data), roots[1], path)
    assert not check(roots[0], _flipped(roots[1], data), path)
    assert not check(*roots, [*path, roots[0]])
    at = data.draw(st.integers(0, len(path) - 1))
    assert not check(*roots, path[:at] + path[at + 1 :])
    assert not check(*roots, [*path[:at], _flipped(path[at], data), *path[at + 1 :]])


@given(st.integers(0, 1_999), st.integers(0, 2_000), st.integers(0, 700))
@settings(max_examples=80, deadline=None)
def test_what_was_added_makes_the_nodes_of_a_tree_of_that_size(begin: int, end: int, step: int) -> None:
    size, found = begin, Tiles(begin)
    while size < end:
        more = HASHES[size : min(end, size + step + 1)]
        edge = {place: found(*place) for place in tlog.edge_tiles(size)}
        for level, n, node in tlog.grown(size, more, lambda level, n, edge=edge: edge[level, n]):  # type: ignore[misc]
            found.levels += [[]] * (level >= len(found.levels))
            assert n == len(found.levels[level])
            found.levels[level] = [*found.levels[level], node]
        found.levels[0] = [*found.levels[0], *more]
        size += len(more)
    assert [row for row in found.levels if row] == [row for row in Tiles(size).levels if row]


@given(st.integers(0, 2_000), st.integers(0, 2_000))
@settings(max_examples=150, deadline=None)
def test_what_is_left_of_a_range_the_range_and_what_is_right_of_it_make_the_root(one: int, two: int) -> None:
    first, end = sorted((one, two))
    tiles = Tiles(2_000)
    edge = tlog.Frontier(first, tlog.range_hashes(0, first, tiles))
    edge.extend(HASHES[first:end])
    right = tlog.range_hashes(end, 2_000, tiles)
    assert tiles.read == {*tlog.range_tiles(0, first), *tlog.range_tiles(end, 2_000)}
    for (height, _), node in zip(tlog.subtrees(end, 2_000), right, strict=True):
        edge.push(height, node)
    assert (edge.size, edge.root()) == (2_000, tlog.root(HASHES))


def test_what_a_tree_cannot_have_is_refused() -> None:
    with pytest.raises(ValueError, match="has no leaf 5"):
        tlog.inclusion_proof(5, 5, Tiles(5))
    with pytest.raises(ValueError, match="does not continue"):
        tlog.consistency_proof(6, 5, Tiles(5))
    with pytest.raises(ValueError, match="ends before"):
        tlog.tree_root(9, Tiles(5))
    with pytest.raises(ValueError, match="does not end in"):
        tlog.Frontier(3, HASHES[:1])
    with pytest.raises(ValueError, match="cannot stand after 1"):
        tlog.Frontier(1, HASHES[:1]).push(1, HASHES[1])


def _proof_of_the_rfc(m: int, leaves: list[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, 2.1.2, word for word; the other implementation leaves out other nodes than the RFC does."""
    n = len(leaves)
    if m == n:
        return [] if whole else [tlog.root(leaves)]
    k = max(2**i for i in range(12) if 2**i < n)
    if m <= k:
        return [*_proof_of_the_rfc(m, leaves[:k], whole=whole), tlog.root(leaves[k:])]
    return [*_proof_of_the_rfc(m - k, leaves[k:], whole=False), tlog.root(leaves[:k])]


def _flipped(value: bytes, data: st.DataObject) -> bytes:
    at = data.draw(st.integers(0, len(value) - 1))
    return value[:at] + bytes([value[at] ^ 1 << data.draw(st.integers(0, 7))]) + value[at + 1 :]
